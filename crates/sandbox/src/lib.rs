//! Runs one process in namespaces with limits.
