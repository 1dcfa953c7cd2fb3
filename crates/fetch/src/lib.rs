//! HTTP with retry, limits, redaction and digest-checked bodies.
