//! What `hone verify --repair` says: what was fetched again, what was taken away, and what is to be done about the rest.

use hone_contract::chain;
use hone_remote::{Mended, Unmended};

use crate::failure::Failure;
use crate::output;

/// Says it; an error where something is left to do.
pub fn report(image: &str, mended: &Mended) -> Result<(), Failure> {
    for (digest, origin) in &mended.fetched {
        output::print(&format!("fetched {digest} again from {origin}\n"))?;
    }
    match &mended.left {
        None => Ok(()),
        Some(left) => Err(unmended(image, left)?),
    }
}

fn unmended(image: &str, left: &Unmended) -> Result<Failure, Failure> {
    for damage in &left.damaged {
        output::print(&format!("{}\n", chain(&damage.why)))?;
    }
    let Some(removed) = &left.removed else {
        return Ok("the store is in use, and nothing damaged was removed; run this again when that is done".into());
    };
    for digest in removed {
        output::print(&format!("removed {digest}, which was damaged\n"))?;
    }
    let of = |n: usize, what: &str| if n == 1 { format!("1 {what} is") } else { format!("{n} {what}s are") };
    let mut said = Vec::new();
    if !left.lost.is_empty() {
        let lost = of(left.lost.len(), "blob");
        said.push(format!("{lost} to be had from nowhere; build or pull it again, which writes them anew"));
    }
    if !left.kept.is_empty() {
        let kept = of(left.kept.len(), "damaged blob");
        said.push(format!(
            "{kept} kept, since there was no telling whether it can be had again; run this again later"
        ));
    }
    let refused = left.damaged.iter().filter(|damage| damage.is_refused()).count();
    if refused > 0 {
        let refused = of(refused, "document");
        said.push(format!(
            "{refused} whole and refused for what it says, which nothing mends; have its maker write it anew"
        ));
    }
    Ok(format!("{image}: {}", said.join("; ")).into())
}
