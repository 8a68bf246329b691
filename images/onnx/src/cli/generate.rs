//! `hone-train generate`.

use std::io::{IsTerminal, Read, Write};

use clap::Args;
use hone_train::adapter::{Adapter, CONFIG_FILE};
use hone_train::generate::{Reader, generate};
use hone_train::text::{Message, Text};
use hone_train::weights::Weights;
use hone_train::{Result, TrainError};

use super::{Machine, Places, io};

/// Answers a prompt with the model and, when there is one, the adapter.
#[derive(Debug, Args)]
pub struct GenerateArgs {
    /// The prompt [default: standard input].
    #[arg(long, short)]
    prompt: Option<String>,
    /// Stop after this many tokens.
    #[arg(long, default_value_t = 256)]
    max_tokens: usize,
    /// A system message; an empty one for none [default: the job's].
    #[arg(long, conflicts_with = "raw")]
    system: Option<String>,
    /// Continue the prompt as it is, without the chat template.
    #[arg(long)]
    raw: bool,
    /// Do not use the adapter.
    #[arg(long)]
    no_adapter: bool,
    #[command(flatten)]
    places: Places,
    #[command(flatten)]
    machine: Machine,
}

/// Longest prompt read from standard input (bytes).
const MAX_PROMPT: u64 = 1 << 20;

/// Runs it; gives the exit code.
pub fn run(args: &GenerateArgs) -> Result<u8> {
    let job = args.places.read_job()?;
    let prompt = args.prompt.clone().map_or_else(read_prompt, Ok)?;
    let cpu = job.as_ref().and_then(|job| job.resources.cpu);
    let runtime = args.machine.runtime(cpu)?;
    let weights = Weights::open(&args.places.model(job.as_ref())?, runtime.threads())?;
    let text = Text::open(args.places.tokenizer(job.as_ref()).as_deref(), &weights)?;
    let adapter = match args.no_adapter || !args.places.adapter.join(CONFIG_FILE).exists() {
        true => None,
        false => Some(Adapter::load(weights.config(), &args.places.adapter)?),
    };
    let dataset = job.as_ref().and_then(|job| job.finetune.as_ref()).map(|finetune| &finetune.dataset);
    let system = args.system.as_deref().or(dataset.and_then(|dataset| dataset.system.as_deref()));
    let ids = prompt_ids(args, system, &text, &prompt)?;
    let mut reader = Reader::new(&runtime, &weights, adapter.as_ref(), args.machine.weights)?;
    let mut out = std::io::stdout().lock();
    let fail = |source| io("write", std::path::Path::new("/dev/stdout"), source);
    generate(&mut reader, &text, &ids, args.max_tokens, &mut |piece| {
        out.write_all(piece.as_bytes()).and_then(|()| out.flush()).map_err(fail)
    })?;
    out.write_all(b"\n").and_then(|()| out.flush()).map_err(fail)?;
    Ok(0)
}

fn prompt_ids(args: &GenerateArgs, system: Option<&str>, text: &Text, prompt: &str) -> Result<Vec<u32>> {
    let chat = text.has_template() && !args.raw;
    let whole = if chat {
        let system = system.filter(|words| !words.is_empty()).map(|words| Message::new("system", words));
        let messages: Vec<Message> = system.into_iter().chain([Message::new("user", prompt)]).collect();
        text.render(&messages, true)?
    } else {
        prompt.to_owned()
    };
    let tokens = text.encode(&whole, !chat)?;
    let begin = text.begin().filter(|begin| !chat && tokens.first().is_none_or(|t| t.id != *begin));
    let ids: Vec<u32> = begin.into_iter().chain(tokens.iter().map(|t| t.id)).collect();
    match ids.is_empty() {
        true => Err(TrainError::Setting {
            what: "prompt".to_owned(),
            got: "nothing".to_owned(),
            want: "some text".to_owned(),
        }),
        false => Ok(ids),
    }
}

fn read_prompt() -> Result<String> {
    let input = std::io::stdin();
    if input.is_terminal() {
        return Err(TrainError::Setting {
            what: "prompt".to_owned(),
            got: "none".to_owned(),
            want: "--prompt TEXT, or text on standard input".to_owned(),
        });
    }
    let mut text = String::new();
    let read = input.lock().take(MAX_PROMPT).read_to_string(&mut text);
    read.map_err(|source| io("read prompt from", std::path::Path::new("/dev/stdin"), source))?;
    Ok(text.trim_end_matches('\n').to_owned())
}
