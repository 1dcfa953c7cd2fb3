//! Parses Dockerfiles to a tree with spans and expands words, without I/O.
