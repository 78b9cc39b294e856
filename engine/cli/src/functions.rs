//! `runlake functions`.

use clap::Args;
use runlake::query::functions;

use crate::exit;

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  runlake functions\n  runlake functions bootstrap_ci")]
pub(crate) struct FunctionsArguments {
    /// Only this function
    name: Option<String>,
}

pub(crate) async fn run(arguments: FunctionsArguments) -> anyhow::Result<u8> {
    let mut any = false;
    for definition in functions::definitions() {
        if arguments.name.as_deref().is_some_and(|name| name != definition.name) {
            continue;
        }
        any = true;
        println!("{}\n  {}", definition.syntax(), definition.summary);
        for parameter in definition.parameters {
            println!("  {:<12} {}", parameter.name, parameter.summary);
        }
        println!("  returns      {}\n  example      {}\n", definition.returns, definition.example);
    }
    if !any {
        eprintln!("runlake: no function has this name; `runlake functions` lists all of Runlake's own");
        return Ok(exit::NOTHING);
    }
    Ok(exit::DONE)
}
