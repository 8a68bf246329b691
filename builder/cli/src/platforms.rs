//! `--platform`: which of an image's platforms is meant, in docker's words.

use hone_image::oci::Platform;
use hone_image::platform::best;
use hone_image::{Image, Pack};
pub use hone_plan::platform;

use crate::failure::Failure;

/// Which images of an index are fetched.
#[derive(Debug, Clone, Default)]
pub enum Platforms {
    /// The one for this machine, and artifacts.
    #[default]
    Here,
    /// The one for this platform, and artifacts.
    Only(Platform),
    /// Every image for Linux and what builders say of them.
    All,
}

/// The image of a pack for a platform, or what the pack has.
pub fn image_for<'p>(pack: &'p Pack, wanted: &Platform) -> Result<&'p Image, Failure> {
    best(wanted, pack.images(), |image| Some(image.platform())).ok_or_else(|| {
        let has: Vec<String> = pack.images().iter().map(|image| image.platform().to_string()).collect();
        format!("no image for {wanted}; it has {}", has.join(", ")).into()
    })
}
