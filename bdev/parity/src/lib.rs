//! P and Q over GF(2^8): reference, portable, AVX2, AVX-512+GFNI and NEON kernels
