//! The scanner behind [`Expander::expand`](super::Expander::expand).

use std::collections::BTreeSet;

use super::pattern::{self, Reach};
use super::{Expander, Expansion, Lookup, Quotes};

/// Deeper nesting of `${..}` is refused: it is never meant, and recursion must end somewhere.
const MAX_DEPTH: usize = 200;

/// Expands `word`. With `forgetful` the part of a word in front of a `${..}` with a modifier is forgotten when words
/// are split, as BuildKit does; it decides what starts a heredoc.
pub(super) fn expand(
    settings: &Expander,
    word: &str,
    lookup: &dyn Lookup,
    forgetful: bool,
) -> Result<Expansion, String> {
    // The reference's reader drops a byte order mark in front of a word.
    let chars: Vec<char> = word.strip_prefix('\u{feff}').unwrap_or(word).chars().collect();
    let mut scanner = Scanner {
        chars: &chars,
        at: 0,
        settings,
        keep_escapes: settings.keep_escapes,
        depth: 0,
        nested: false,
        lookup,
        used: BTreeSet::new(),
        undefined: BTreeSet::new(),
    };
    let mut words = Words {
        forgetful,
        ..Words::default()
    };
    let text = scanner.until(None, settings.keep_escapes, Some(&mut words))?;
    Ok(Expansion {
        text,
        words: words.finish(),
        used: scanner.used,
        undefined: scanner.undefined,
    })
}

/// Splits at blanks as text comes in. Empty words never count, not even quoted ones.
#[derive(Default)]
struct Words {
    done: Vec<String>,
    current: String,
    forgetful: bool,
}

impl Words {
    /// Text outside of quotes: blanks split.
    fn plain(&mut self, text: &str) {
        for c in text.chars() {
            if c.is_whitespace() {
                self.end();
            } else {
                self.current.push(c);
            }
        }
    }

    /// Quoted or escaped text.
    fn raw(&mut self, text: &str) {
        self.current.push_str(text);
    }

    fn end(&mut self) {
        if !self.current.is_empty() {
            self.done.push(std::mem::take(&mut self.current));
        }
    }

    fn finish(mut self) -> Vec<String> {
        self.end();
        self.done
    }
}

struct Scanner<'a> {
    chars: &'a [char],
    at: usize,
    settings: &'a Expander,
    /// Escape characters stay; patterns switch it on, because they read their escapes themselves.
    keep_escapes: bool,
    depth: usize,
    /// Set once the text inside a `${..}` was read.
    nested: bool,
    lookup: &'a dyn Lookup,
    used: BTreeSet<String>,
    undefined: BTreeSet<String>,
}

impl Scanner<'_> {
    fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += 1;
        Some(c)
    }

    /// Expands up to `stop`, which is consumed, or to the end.
    fn until(
        &mut self,
        stop: Option<char>,
        keep_escapes: bool,
        mut words: Option<&mut Words>,
    ) -> Result<String, String> {
        let outer = std::mem::replace(&mut self.keep_escapes, keep_escapes);
        let mut out = String::new();
        while let Some(c) = self.peek() {
            if stop == Some(c) {
                self.next();
                self.keep_escapes = outer;
                self.nested = true;
                return Ok(out);
            }
            self.nested = false;
            let (piece, splits) = self.piece(c)?;
            out.push_str(&piece);
            if let Some(words) = words.as_deref_mut() {
                if words.forgetful && self.nested {
                    words.current.clear();
                }
                if splits {
                    words.plain(&piece);
                } else {
                    words.raw(&piece);
                }
            }
        }
        self.keep_escapes = outer;
        match stop {
            None => Ok(out),
            Some('/') => Err("`/` between pattern and replacement is missing".to_owned()),
            Some(_) => Err("`${` is not closed".to_owned()),
        }
    }

    /// The next unit, and whether blanks in it split words.
    fn piece(&mut self, c: char) -> Result<(String, bool), String> {
        match c {
            '$' => Ok((self.dollar()?, true)),
            '<' => Ok((self.heredoc_mark(), false)),
            '\'' if self.settings.quotes != Quotes::Literal => Ok((self.single_quoted()?, false)),
            '"' if self.settings.quotes != Quotes::Literal => Ok((self.double_quoted()?, false)),
            _ if c == self.settings.escape => {
                self.next();
                let mut out = String::new();
                if self.keep_escapes {
                    out.push(c);
                }
                out.extend(self.next());
                Ok((out, false))
            }
            _ => {
                self.next();
                Ok((c.to_string(), true))
            }
        }
    }

    /// `<` or `<<`; blanks after `<<` belong to the delimiter's word.
    fn heredoc_mark(&mut self) -> String {
        let mut out = String::new();
        out.extend(self.next());
        if self.peek() == Some('<') {
            out.extend(self.next());
            while matches!(self.peek(), Some('\t' | '\r' | ' ')) {
                out.extend(self.next());
            }
        }
        out
    }

    fn single_quoted(&mut self) -> Result<String, String> {
        let keep = self.settings.quotes == Quotes::Keep;
        let mut out = String::new();
        let open = self.next();
        out.extend(open.filter(|_| keep));
        loop {
            match self.next() {
                None => return Err("a single quote is not closed".to_owned()),
                Some('\'') => {
                    out.extend(open.filter(|_| keep));
                    return Ok(out);
                }
                Some(c) => out.push(c),
            }
        }
    }

    fn double_quoted(&mut self) -> Result<String, String> {
        let keep = self.settings.quotes == Quotes::Keep;
        let mut out = String::new();
        let open = self.next();
        out.extend(open.filter(|_| keep));
        loop {
            match self.peek() {
                None => return Err("a double quote is not closed".to_owned()),
                Some('"') => {
                    self.next();
                    out.extend(open.filter(|_| keep));
                    return Ok(out);
                }
                Some('$') => out.push_str(&self.dollar()?),
                Some(c) if c == self.settings.escape => {
                    self.next();
                    if self.keep_escapes {
                        out.push(c);
                    }
                    match self.peek() {
                        None => {}
                        Some(e) if e == '"' || e == '$' || e == self.settings.escape => {
                            out.extend(self.next());
                        }
                        // Before anything else the escape character is text, also when it was kept already.
                        Some(_) => out.push(c),
                    }
                }
                Some(_) => out.extend(self.next()),
            }
        }
    }

    fn get(&mut self, name: &str) -> Option<String> {
        let value = self.lookup.get(name);
        let names = if value.is_some() {
            &mut self.used
        } else {
            &mut self.undefined
        };
        names.insert(name.to_owned());
        value.map(std::borrow::Cow::into_owned)
    }

    fn dollar(&mut self) -> Result<String, String> {
        self.next();
        if self.peek() == Some('{') {
            self.next();
            if self.depth == MAX_DEPTH {
                return Err(format!("`${{` is nested more than {MAX_DEPTH} deep"));
            }
            self.depth += 1;
            let result = self.braced();
            self.depth -= 1;
            return result;
        }
        let name = self.name();
        if name.is_empty() {
            return Ok("$".to_owned());
        }
        match self.get(&name) {
            None if self.settings.keep_unset => Ok(format!("${name}")),
            value => Ok(value.unwrap_or_default()),
        }
    }

    /// A variable's name, a number, or one special parameter; empty where none of these stands.
    fn name(&mut self) -> String {
        let start = self.at;
        match self.peek() {
            Some(c) if c.is_ascii_digit() => {
                while self.peek().is_some_and(|c| c.is_ascii_digit()) {
                    self.at += 1;
                }
            }
            Some('@' | '*' | '#' | '?' | '-' | '$' | '!') => self.at += 1,
            _ => {
                while self
                    .peek()
                    .is_some_and(|c| c.is_alphabetic() || c.is_ascii_digit() || c == '_')
                {
                    self.at += 1;
                }
            }
        }
        self.chars[start..self.at].iter().collect()
    }

    /// What follows `${`.
    fn braced(&mut self) -> Result<String, String> {
        match self.peek() {
            None => return Err("`${` is not closed".to_owned()),
            Some('{' | '}' | ':') => return Err("bad substitution: a name must follow `${`".to_owned()),
            Some(_) => {}
        }
        let name = self.name();
        match self.next() {
            None => Err("`${` is not closed".to_owned()),
            Some('}') => match self.get(&name) {
                None if self.settings.keep_unset => Ok(format!("${{{name}}}")),
                value => Ok(value.unwrap_or_default()),
            },
            Some(':') => match self.next() {
                None => Err("`${` is not closed".to_owned()),
                Some(c @ ('#' | '%')) => Err(unsupported(&format!(":{c}"))),
                Some(c) => self.modified(&name, c, true),
            },
            Some(c @ ('+' | '-' | '?')) => self.modified(&name, c, false),
            Some(c @ ('#' | '%')) => self.trimmed(&name, c),
            Some('/') => self.replaced(&name),
            Some(c) => Err(unsupported(&c.to_string())),
        }
    }

    /// `-`, `+` and `?`, with or without a colon; the colon makes an empty value count as unset.
    fn modified(&mut self, name: &str, modifier: char, colon: bool) -> Result<String, String> {
        let word = self.until(Some('}'), false, None)?;
        let value = self.get(name);
        if value.is_none() && self.settings.keep_unset {
            let colon = if colon { ":" } else { "" };
            return Ok(format!("${{{name}{colon}{modifier}{word}}}"));
        }
        let set = value.as_ref().is_some_and(|value| !(colon && value.is_empty()));
        match modifier {
            '-' => Ok(if set { value.unwrap_or_default() } else { word }),
            '+' => Ok(if set { word } else { String::new() }),
            '?' if set => Ok(value.unwrap_or_default()),
            '?' => {
                let state = if value.is_some() { "empty" } else { "unset" };
                let default = format!("it is {state}, and a value is required");
                Err(format!(
                    "{name}: {}",
                    if word.is_empty() { default } else { word }
                ))
            }
            other => Err(unsupported(&format!(":{other}"))),
        }
    }

    /// `#`, `##`, `%` and `%%`.
    fn trimmed(&mut self, name: &str, modifier: char) -> Result<String, String> {
        let word = self.until(Some('}'), true, None)?;
        let value = self.get(name);
        if value.is_none() && self.settings.keep_unset {
            return Ok(format!("${{{name}{modifier}{word}}}"));
        }
        trim(&value.unwrap_or_default(), modifier, &word)
    }

    /// `/p/r` and `//p/r`.
    fn replaced(&mut self, name: &str) -> Result<String, String> {
        let all = self.peek() == Some('/');
        if all {
            self.next();
        }
        let pattern = self.until(Some('/'), true, None)?;
        let replacement = self.until(Some('}'), true, None)?;
        let value = self.get(name);
        if value.is_none() && self.settings.keep_unset {
            return Ok(format!("${{{name}/{pattern}/{replacement}}}"));
        }
        let [pattern, value, replacement] =
            [pattern, value.unwrap_or_default(), replacement].map(|text| text.chars().collect::<Vec<char>>());
        let replace = if all {
            pattern::replace_all
        } else {
            pattern::replace_first
        };
        replace(&pattern, &value, &replacement)
    }
}

fn trim(value: &str, modifier: char, word: &str) -> Result<String, String> {
    let (word, reach) = match word.strip_prefix(modifier) {
        Some(word) => (word, Reach::Longest),
        None => (word, Reach::Shortest),
    };
    let (word, value): (Vec<char>, Vec<char>) = (word.chars().collect(), value.chars().collect());
    let rest = if modifier == '%' {
        pattern::trim_suffix(&word, &value, reach)?
    } else {
        pattern::trim_prefix(&word, &value, reach)?
    };
    Ok(rest.into_iter().collect())
}

fn unsupported(modifier: &str) -> String {
    format!("the modifier `{modifier}` is not supported in `${{..}}`")
}
