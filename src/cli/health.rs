//! `weft health`: whether a server runs on the data directory and takes edits; for health checks of containers.

use super::admin_client::AdminClient;
use super::failure::Failure;
use super::output::Output;
use super::{At, Outcome, serve};
use crate::data_dir;

/// Arguments of `weft health`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  weft health                     exit code 0: ready, 1: not ready, 3: no server is running
  weft health --data /var/lib/weft --json")]
pub(super) struct HealthArgs {
    #[command(flatten)]
    pub(super) at: At,
}

/// Asks the running server; never opens the directory itself.
pub(super) fn run(args: &HealthArgs, out: &mut Output<'_>) -> Result<Outcome, Failure> {
    let data = args.at.data.display();
    let admin = data_dir::admin_of(&args.at.data).ok_or_else(|| {
        Failure::open(format!("no server is running on {data}; start one with `weft serve --data {data}`"))
    })?;
    let runtime = serve::runtime()?;
    let refused = runtime.block_on(async { AdminClient::connect(&admin).await?.not_ready().await })?;
    let (ready, why) = (refused.is_none(), refused.unwrap_or_default());
    if out.is_json() {
        out.json(&serde_json::json!({ "ready": ready, "reason": why, "listen": admin.listen }))?;
    } else if ready {
        out.line(&format!("ready on ws://{}", admin.listen))?;
    } else {
        out.line(&format!("not ready: {why}"))?;
    }
    Ok(if ready { Outcome::Done } else { Outcome::FoundWrong })
}
