//! Snapshots to images: config, manifest, archives.
