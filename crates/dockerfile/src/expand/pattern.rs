//! The patterns of `${v#p}`, `${v%p}` and `${v/p/r}`: `*`, `?` and `\`; brackets are literal.

/// How far a `*` reaches where it can choose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    Shortest,
    Longest,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token {
    Char(char),
    /// `?`: anything but a line end.
    One,
    /// `*`: any run without a line end.
    Run,
}

/// A parsed pattern.
#[derive(Debug)]
pub(super) struct Pattern {
    tokens: Vec<Token>,
    reach: Reach,
}

/// A match: from where to where, in characters.
type Match = (usize, usize);

impl Pattern {
    pub(super) fn parse(text: &[char], reach: Reach) -> Result<Self, String> {
        let mut tokens = Vec::with_capacity(text.len());
        // The reference's reader drops a byte order mark in front of a pattern.
        let mut chars = text
            .strip_prefix(&['\u{feff}'])
            .unwrap_or(text)
            .iter()
            .copied()
            .peekable();
        while let Some(c) = chars.next() {
            tokens.push(match c {
                '*' => Token::Run,
                '?' => Token::One,
                '\\' => match chars.peek() {
                    // These had to be escaped inside `${..}`; the escape is no part of the pattern.
                    Some('}' | '/') => continue,
                    Some(&escaped @ ('*' | '?' | '\\')) => {
                        chars.next();
                        Token::Char(escaped)
                    }
                    Some(other) => return Err(format!("invalid escape `\\{other}` in a pattern")),
                    None => return Err("a pattern cannot end in a lone `\\`".to_owned()),
                },
                _ => Token::Char(c),
            });
        }
        Ok(Self { tokens, reach })
    }

    /// For each start, where the preferred match ends. Linear in text times pattern, so that no pattern can hang a
    /// build.
    fn ends(&self, text: &[char]) -> Vec<Option<usize>> {
        let mut next: Vec<Option<usize>> = (0..=text.len()).map(Some).collect();
        for token in self.tokens.iter().rev() {
            let mut current = vec![None; text.len() + 1];
            for at in (0..=text.len()).rev() {
                let here = text.get(at).copied();
                current[at] = match (*token, here) {
                    (Token::Char(wanted), Some(c)) if c == wanted => next[at + 1],
                    (Token::One, Some(c)) if c != '\n' => next[at + 1],
                    (Token::Run, Some(c)) if c != '\n' => match self.reach {
                        Reach::Longest => current[at + 1].or(next[at]),
                        Reach::Shortest => next[at].or(current[at + 1]),
                    },
                    (Token::Run, _) => next[at],
                    _ => None,
                };
            }
            next = current;
        }
        next
    }

    /// The length of the match at the very start.
    pub(super) fn prefix(&self, text: &[char]) -> Option<usize> {
        self.ends(text)[0]
    }

    /// The leftmost match.
    pub(super) fn find(&self, text: &[char]) -> Option<Match> {
        self.ends(text)
            .into_iter()
            .enumerate()
            .find_map(|(start, end)| Some((start, end?)))
    }

    /// All matches that do not overlap; an empty one directly behind another does not count.
    pub(super) fn find_all(&self, text: &[char]) -> Vec<Match> {
        let ends = self.ends(text);
        let mut found = Vec::new();
        let (mut from, mut last_end) = (0, 0);
        while from <= text.len() {
            let Some((start, end)) = (from..=text.len()).find_map(|start| Some((start, ends[start]?))) else {
                break;
            };
            if end > last_end || start == 0 {
                found.push((start, end));
            }
            last_end = end;
            from = end.max(from + 1);
        }
        found
    }
}

/// `value` without the prefix that matches.
pub(super) fn trim_prefix(pattern: &[char], value: &[char], reach: Reach) -> Result<Vec<char>, String> {
    let skip = Pattern::parse(pattern, reach)?.prefix(value).unwrap_or(0);
    Ok(value[skip..].to_vec())
}

/// `value` without the suffix that matches: both are reversed, because only the start of a match can be pinned.
pub(super) fn trim_suffix(pattern: &[char], value: &[char], reach: Reach) -> Result<Vec<char>, String> {
    let backwards: Vec<char> = value.iter().rev().copied().collect();
    let mut rest = trim_prefix(&reversed(pattern), &backwards, reach)?;
    rest.reverse();
    Ok(rest)
}

/// The pattern from right to left, escapes kept in front of what they escape.
fn reversed(pattern: &[char]) -> Vec<char> {
    let mut units: Vec<&[char]> = Vec::new();
    let mut rest = pattern;
    while !rest.is_empty() {
        let length = if rest[0] == '\\' && rest.len() > 1 { 2 } else { 1 };
        let (unit, tail) = rest.split_at(length);
        units.push(unit);
        rest = tail;
    }
    units.into_iter().rev().flatten().copied().collect()
}

/// `${v//p/r}`: every match replaced. A `$` in the replacement is a template as in Go's `regexp`: `$0` and `${0}`
/// are the match, other names are empty, `$$` is a dollar sign.
pub(super) fn replace_all(pattern: &[char], value: &[char], replacement: &[char]) -> Result<String, String> {
    let pattern = Pattern::parse(pattern, Reach::Longest)?;
    let mut out = String::new();
    let mut done = 0;
    for (start, end) in pattern.find_all(value) {
        out.extend(&value[done..start]);
        fill_template(replacement, &value[start..end], &mut out);
        done = end;
    }
    out.extend(&value[done..]);
    Ok(out)
}

/// `${v/p/r}`: the first match replaced by the plain text.
pub(super) fn replace_first(
    pattern: &[char],
    value: &[char],
    replacement: &[char],
) -> Result<String, String> {
    let pattern = Pattern::parse(pattern, Reach::Longest)?;
    let Some((start, end)) = pattern.find(value) else {
        return Ok(value.iter().collect());
    };
    Ok(value[..start]
        .iter()
        .chain(replacement)
        .chain(&value[end..])
        .collect())
}

fn fill_template(template: &[char], matched: &[char], out: &mut String) {
    let mut rest = template;
    while let Some((&c, tail)) = rest.split_first() {
        if c != '$' {
            out.push(c);
            rest = tail;
        } else if tail.first() == Some(&'$') {
            out.push('$');
            rest = &tail[1..];
        } else if let Some((name, behind)) = template_name(tail) {
            // Only group 0 exists; any other name or number is empty.
            if name == ['0'] {
                out.extend(matched);
            }
            rest = behind;
        } else {
            out.push('$');
            rest = tail;
        }
    }
}

/// The name after a `$` and what follows it.
fn template_name(text: &[char]) -> Option<(&[char], &[char])> {
    let braced = text.first() == Some(&'{');
    let text = if braced { &text[1..] } else { text };
    let length = text
        .iter()
        .take_while(|c| c.is_alphanumeric() || **c == '_')
        .count();
    if length == 0 || (braced && text.get(length) != Some(&'}')) {
        return None;
    }
    Some((&text[..length], &text[length + usize::from(braced)..]))
}
