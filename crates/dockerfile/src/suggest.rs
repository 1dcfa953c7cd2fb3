//! Finds what was meant by a misspelt name.

/// The option nearest to `name` and at most two edits away, in the letter case of `name`; `None` also when `name`
/// is one of the options.
pub(crate) fn nearest(name: &str, options: &[&str]) -> Option<String> {
    let lower = name.to_lowercase();
    let (distance, option) = options
        .iter()
        .map(|option| (distance(&lower, &option.to_lowercase()), option))
        .min_by_key(|(distance, _)| *distance)?;
    if distance == 0 || distance > 2 {
        return None;
    }
    Some(if name == lower {
        option.to_lowercase()
    } else {
        (*option).to_owned()
    })
}

/// The Levenshtein distance. Very long names are nobody's misspelling.
pub(crate) fn distance(a: &str, b: &str) -> usize {
    const LONGEST: usize = 64;
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().take(LONGEST).collect(), b.chars().collect());
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn the_nearest_is_found_in_the_same_letter_case() {
        let options = ["COPY", "CMD", "ENV"];
        for (name, expected) in [
            ("COPPY", Some("COPY")),
            ("coppy", Some("copy")),
            ("Cmdd", Some("CMD")),
            ("COPY", None),
            ("copy", None),
            ("NOTHING", None),
            ("", None),
        ] {
            assert_eq!(nearest(name, &options).as_deref(), expected, "{name}");
        }
    }
}
