//! Sources of a build: images, contexts, layouts.
