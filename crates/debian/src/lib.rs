//! Debian archive: signed indexes, version order, resolver, package files.
