//! Dockerfile to LLB.
