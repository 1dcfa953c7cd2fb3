//! The image config of an assembled image.

use distil_oci::{History, ImageConfig};

use crate::ASSEMBLED_LABEL;
use crate::debian_image::plan::Plan;

/// The config of the image, without its layer: the caller adds the diff ID.
/// Command and environment are those of Docker's `debian` images.
#[must_use]
pub fn image_config(plan: &Plan) -> ImageConfig {
    let mut config = ImageConfig::new(&plan.platform);
    let created = distil_debian::format_rfc3339(plan.epoch);
    config.created = Some(created.clone());
    config.config.env = vec!["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned()];
    config.config.cmd = vec!["bash".to_owned()];
    config
        .config
        .labels
        .insert(ASSEMBLED_LABEL.to_owned(), plan.key().to_string());
    config.history = vec![History {
        created: Some(created),
        created_by: format!("distil: {} assembled from Debian packages", plan.recipe.name),
        ..History::default()
    }];
    config
}
