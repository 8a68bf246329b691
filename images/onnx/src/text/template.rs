//! Chat templates: Jinja as transformers runs it (trimmed blocks, Python's string methods, `raise_exception`).
//! There is no clock: templates that ask whether `strftime_now` is defined learn that it is not.

use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, Error, ErrorKind, Value, context};

use super::Message;
use crate::error::{Result, TrainError};

/// A parsed template.
pub(super) struct Template {
    environment: Environment<'static>,
    begin: String,
    end: String,
}

const NAME: &str = "chat";

fn refused(operation: &'static str) -> impl FnOnce(Error) -> TrainError {
    move |error| TrainError::Template { operation, source: error.into() }
}

impl Template {
    /// Parses `source`; `begin` and `end` are how the tokenizer spells its special tokens.
    pub(super) fn new(source: String, begin: String, end: String) -> Result<Self> {
        let mut environment = Environment::new();
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        environment.set_syntax(syntax.map_err(refused("set up"))?);
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_function("raise_exception", |message: String| -> std::result::Result<Value, Error> {
            Err(Error::new(ErrorKind::InvalidOperation, message))
        });
        let added = environment.add_template_owned(NAME, source);
        added.map_err(refused("parse"))?;
        Ok(Self { environment, begin, end })
    }

    pub(super) fn render(&self, messages: &[Message], answer: bool) -> Result<String> {
        let turn = |m: &Message| context! { role => m.role.as_str(), content => m.content.as_str() };
        let values = context! {
            messages => messages.iter().map(turn).collect::<Vec<Value>>(),
            add_generation_prompt => answer,
            bos_token => self.begin.as_str(),
            eos_token => self.end.as_str(),
        };
        let text = self.environment.get_template(NAME).and_then(|template| template.render(values));
        text.map_err(refused("apply"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn render(source: &str, answer: bool) -> Result<String> {
        let messages = [Message::new("user", " Hi "), Message::new("assistant", "Ho")];
        Template::new(source.to_owned(), "<s>".to_owned(), "</s>".to_owned())?.render(&messages, answer)
    }

    #[test]
    fn templates_of_the_known_families_are_understood() {
        let llama2 = "{{ bos_token }}{% for message in messages %}\n{% if message['role'] == 'user' %}\n\
            {{ '[INST] ' + message['content'].strip() + ' [/INST]' }}{% else %}\
            {{ ' ' + message.content + eos_token }}{% endif %}\n{% endfor %}";
        assert_eq!(render(llama2, false).unwrap(), "<s>[INST] Hi [/INST] Ho</s>");
        let qwen3 = "{%- set ns = namespace(last=0) %}{%- for m in messages[::-1] %}{%- set ns.last = loop.index0 %}\
            {%- endfor %}{%- for m in messages %}{%- if m.content is string and not m.content.startswith('<x>') %}\
            {{- '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}{%- endif %}{%- endfor %}\
            {%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}";
        let text = render(qwen3, true).unwrap();
        assert!(text.starts_with("<|im_start|>user\n Hi <|im_end|>\n") && text.ends_with("<|im_start|>assistant\n"));
    }

    #[test]
    fn a_template_can_refuse() {
        let error = render("{{ raise_exception('roles must alternate') }}", false).unwrap_err();
        let source = std::error::Error::source(&error).unwrap().to_string();
        assert!(source.contains("roles must alternate"), "{source}");
        assert!(render("{% if %}", false).unwrap_err().to_string().contains("parse"));
        assert_eq!(render("{% if strftime_now is defined %}now{% else %}then{% endif %}", false).unwrap(), "then");
    }
}
