//! Registry client: resolve, pull, push, auth.
