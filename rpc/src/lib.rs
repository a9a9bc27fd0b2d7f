//! JSON-RPC 2.0: codec, server, client and typed parameters; knows no engine
