//! `hone completion SHELL`: the script by which a shell completes Hone's command line.

use clap::{Args, ValueEnum};
use clap_complete::{Shell, generate};

use crate::args::with_programs_beside;
use crate::failure::Failure;
use crate::output;

/// Arguments of `hone completion`.
#[derive(Debug, Args)]
#[command(after_help = "bash:  hone completion bash >/etc/bash_completion.d/hone\n\
                        zsh:   hone completion zsh >\"${fpath[1]}/_hone\"\n\
                        fish:  hone completion fish >~/.config/fish/completions/hone.fish")]
pub struct Completion {
    /// The shell
    #[arg(value_enum)]
    shell: Known,
}

/// Those that docker and kubectl know too, on Linux.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Known {
    Bash,
    Zsh,
    Fish,
}

impl Completion {
    /// Prints the script.
    pub fn run(self) -> Result<(), Failure> {
        let shell = match self.shell {
            Known::Bash => Shell::Bash,
            Known::Zsh => Shell::Zsh,
            Known::Fish => Shell::Fish,
        };
        let mut script = Vec::new();
        generate(shell, &mut with_programs_beside(), "hone", &mut script);
        output::print(&String::from_utf8(script)?)
    }
}
