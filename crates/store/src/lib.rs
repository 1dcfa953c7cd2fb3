//! Content-addressed blobs, metadata database, leases and garbage collection.
