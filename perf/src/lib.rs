//! Load generator, kernel benches and recorded results
