//! Images assembled from Debian packages.
