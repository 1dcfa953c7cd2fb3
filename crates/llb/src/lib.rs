//! The LLB operation graph and its exact wire bytes.
