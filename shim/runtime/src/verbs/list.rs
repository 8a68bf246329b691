//! `list`: the containers below `--root`.

use super::Context;
use crate::cli::ListArgs;
use crate::error::{Result, RuntimeError};
use crate::state::{Container, Report};

/// The text to print.
///
/// # Errors
/// When the state directory cannot be read.
pub fn list(ctx: &Context, args: &ListArgs) -> Result<String> {
    let containers = Container::all(&ctx.root)?;
    if args.quiet {
        return Ok(containers.iter().map(|c| format!("{}\n", c.record.id)).collect());
    }
    match args.format.as_str() {
        "json" => json(&containers),
        "table" => table(&containers),
        _ => Err(RuntimeError::Usage("invalid format option".into())),
    }
}

fn json(containers: &[Container]) -> Result<String> {
    let owners: Vec<String> = containers.iter().map(|c| owner(c.record.owner)).collect();
    let mut reports: Vec<Report<'_>> = Vec::new();
    for (container, owner) in containers.iter().zip(&owners) {
        reports.push(container.report(container.status()?).owned_by(owner));
    }
    let text = serde_json::to_string(&reports);
    text.map_err(|source| RuntimeError::Json { path: "list".into(), source })
}

fn table(containers: &[Container]) -> Result<String> {
    let mut rows = vec![["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"].map(str::to_owned)];
    for container in containers {
        let status = container.status()?;
        let record = &container.record;
        rows.push([
            record.id.clone(),
            container.report(status).pid.to_string(),
            status.to_string(),
            record.bundle.display().to_string(),
            record.created.clone(),
            owner(record.owner),
        ]);
    }
    Ok(aligned(&rows))
}

/// Columns as wide as their widest entry, at least 12, three spaces apart.
fn aligned(rows: &[[String; 6]]) -> String {
    let mut widths = [9; 6];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let line = |row: &[String; 6]| {
        let cells = row.iter().zip(widths).take(5).map(|(cell, width)| format!("{cell:<width$}   "));
        cells.chain([row[5].clone()]).collect::<String>().trim_end().to_owned() + "\n"
    };
    rows.iter().map(line).collect()
}

/// The user's name, or `#<uid>` without one.
fn owner(uid: u32) -> String {
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let fields = passwd.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let mut own = fields.filter(|f| f.get(2).and_then(|id| id.parse::<u32>().ok()) == Some(uid));
    own.find_map(|f| f.first().map(|name| (*name).to_owned())).unwrap_or_else(|| format!("#{uid}"))
}
