//! Go's `filepath.Match` on Unix, which COPY's wildcards use.

use super::PatternError;

/// Marks a malformed pattern inside this module.
struct Bad;

/// Whether `name` matches the whole `pattern`: `*` and `?` never match `/`, `[...]` is a
/// class of characters (`^` negates; it may match `/`), a backslash escapes.
pub fn match_path(pattern: &[u8], name: &[u8]) -> Result<bool, PatternError> {
    try_match(pattern, name).map_err(|Bad| PatternError::Syntax {
        pattern: String::from_utf8_lossy(pattern).into_owned(),
    })
}

fn try_match(mut pattern: &[u8], mut name: &[u8]) -> Result<bool, Bad> {
    while !pattern.is_empty() {
        let (star, chunk, rest) = scan_chunk(pattern);
        pattern = rest;
        if star && chunk.is_empty() {
            return Ok(!name.contains(&b'/'));
        }
        match step(star, chunk, name, pattern.is_empty())? {
            Some(left) => name = left,
            None => {
                // Nothing can match any more, but a malformed rest is still an error.
                while !pattern.is_empty() {
                    let (_, chunk, rest) = scan_chunk(pattern);
                    pattern = rest;
                    match_chunk(chunk, b"")?;
                }
                return Ok(false);
            }
        }
    }
    Ok(name.is_empty())
}

/// Matches one chunk at the start of `name`, or after what a star before it may skip.
fn step<'n>(star: bool, chunk: &[u8], name: &'n [u8], last: bool) -> Result<Option<&'n [u8]>, Bad> {
    let mut skipped = 0;
    loop {
        if let Some(left) = match_chunk(chunk, &name[skipped..])? {
            // The last chunk must use up the name.
            if left.is_empty() || !last {
                return Ok(Some(left));
            }
        }
        if !star || skipped >= name.len() || name[skipped] == b'/' {
            return Ok(None);
        }
        skipped += 1;
    }
}

/// Splits off leading stars and the text up to the next star.
fn scan_chunk(pattern: &[u8]) -> (bool, &[u8], &[u8]) {
    let stars = pattern.iter().take_while(|byte| **byte == b'*').count();
    let rest = &pattern[stars..];
    let mut in_class = false;
    let mut at = 0;
    while at < rest.len() {
        match rest[at] {
            b'\\' if at + 1 < rest.len() => at += 1,
            b'[' => in_class = true,
            b']' => in_class = false,
            b'*' if !in_class => break,
            _ => {}
        }
        at += 1;
    }
    (stars > 0, &rest[..at], &rest[at..])
}

/// Matches a chunk without stars at the start of `text`; gives what is left of it. The whole
/// chunk is read even when the match has failed, to find syntax errors.
fn match_chunk<'n>(mut chunk: &[u8], mut text: &'n [u8]) -> Result<Option<&'n [u8]>, Bad> {
    let mut failed = false;
    while let Some((&first, rest)) = chunk.split_first() {
        failed = failed || text.is_empty();
        match first {
            b'[' => {
                let mut char_found = None;
                if !failed {
                    let (found, width) = decode(text);
                    char_found = Some(found);
                    text = &text[width..];
                }
                let (matched, rest) = match_class(rest, char_found)?;
                failed = failed || !matched;
                chunk = rest;
            }
            b'?' => {
                if !failed {
                    failed = text[0] == b'/';
                    text = &text[decode(text).1..];
                }
                chunk = rest;
            }
            _ => {
                let (literal, rest) = match (first, rest.split_first()) {
                    (b'\\', None) => return Err(Bad),
                    (b'\\', Some((&escaped, rest))) => (escaped, rest),
                    _ => (first, rest),
                };
                if !failed {
                    failed = literal != text[0];
                    text = &text[1..];
                }
                chunk = rest;
            }
        }
    }
    Ok((!failed).then_some(text))
}

/// Reads a class after its `[`; says whether `found` is in it, and what follows.
fn match_class(mut chunk: &[u8], found: Option<char>) -> Result<(bool, &[u8]), Bad> {
    let negated = chunk.first() == Some(&b'^');
    if negated {
        chunk = &chunk[1..];
    }
    let mut matched = false;
    let mut ranges = 0;
    loop {
        if ranges > 0 && chunk.first() == Some(&b']') {
            return Ok((matched != negated, &chunk[1..]));
        }
        let (low, rest) = class_char(chunk)?;
        let (high, rest) = match rest.strip_prefix(b"-") {
            Some(rest) => class_char(rest)?,
            None => (low, rest),
        };
        matched = matched || found.is_some_and(|found| low <= found && found <= high);
        ranges += 1;
        chunk = rest;
    }
}

/// One character of a class, escaped or not; something must follow it.
fn class_char(chunk: &[u8]) -> Result<(char, &[u8]), Bad> {
    let chunk = match chunk.first() {
        None | Some(b'-' | b']') => return Err(Bad),
        Some(b'\\') => &chunk[1..],
        Some(_) => chunk,
    };
    if chunk.is_empty() {
        return Err(Bad);
    }
    let (found, width) = decode(chunk);
    if found == char::REPLACEMENT_CHARACTER && width == 1 {
        return Err(Bad);
    }
    match &chunk[width..] {
        [] => Err(Bad),
        rest => Ok((found, rest)),
    }
}

/// The first character and its width; a byte that is no UTF-8 counts as U+FFFD. `text` is
/// not empty.
fn decode(text: &[u8]) -> (char, usize) {
    let width = text.len().min(4);
    let valid = match std::str::from_utf8(&text[..width]) {
        Ok(valid) => valid,
        Err(err) => std::str::from_utf8(&text[..err.valid_up_to()]).unwrap_or_default(),
    };
    match valid.chars().next() {
        Some(found) => (found, found.len_utf8()),
        None => (char::REPLACEMENT_CHARACTER, 1),
    }
}
