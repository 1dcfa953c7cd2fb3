//! Checks and reads single values of instructions: ports, signals, modes.

/// What one word of EXPOSE says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Exposed<'w> {
    /// The word itself.
    pub(crate) word: &'w str,
    /// `port/protocol` entries, ranges expanded.
    pub(crate) ports: Vec<String>,
    /// The protocol is not all lower case.
    pub(crate) has_upper_case_protocol: bool,
    /// It names an address or a host port, which have no effect.
    pub(crate) is_mapping: bool,
}

/// Reads one EXPOSE word.
///
/// The word is `[[ip:]hostPort:]containerPort[/protocol]`; address and host port
/// are checked and dropped, as docker always did.
pub(crate) fn exposed_ports(word: &str) -> Result<Exposed<'_>, String> {
    let parts: Vec<&str> = word.split(':').collect();
    let (ip, host, container) = match parts.as_slice() {
        [] | [_] => (String::new(), "", word),
        [host, container] => (String::new(), *host, *container),
        [ip @ .., host, container] => (ip.join(":"), *host, *container),
    };
    let (container, protocol) = container.split_once('/').unwrap_or((container, ""));
    if container.is_empty() {
        return Err(format!("no port in `{word}`"));
    }
    let typed_protocol = protocol;
    let protocol = protocol.to_lowercase();
    let has_upper_case_protocol = typed_protocol != protocol;
    let protocol = match protocol.as_str() {
        "" => "tcp",
        "tcp" | "udp" | "sctp" => protocol.as_str(),
        _ => {
            return Err(format!(
                "unknown protocol `{protocol}` in `{word}`, use tcp, udp or sctp"
            ));
        }
    };
    if !ip.is_empty() {
        let bare = ip
            .strip_prefix('[')
            .and_then(|ip| ip.strip_suffix(']'))
            .unwrap_or(&ip);
        if bare.parse::<std::net::IpAddr>().is_err() {
            return Err(format!("`{ip}` in `{word}` is no IP address"));
        }
    }
    let (first, last) = port_range(container, word)?;
    if !host.is_empty() {
        let (host_first, host_last) = port_range(host, word)?;
        if last - first != host_last - host_first && first != last {
            return Err(format!(
                "the ranges `{host}` and `{container}` in `{word}` differ in length"
            ));
        }
    }
    Ok(Exposed {
        word,
        ports: (first..=last).map(|port| format!("{port}/{protocol}")).collect(),
        has_upper_case_protocol,
        is_mapping: !ip.is_empty() || !host.is_empty(),
    })
}

fn port_range(range: &str, word: &str) -> Result<(u16, u16), String> {
    let port = |text: &str| {
        let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
        let number: Option<i64> = if digits.is_empty() {
            None
        } else {
            text.parse().ok()
        };
        number
            .and_then(|number| u16::try_from(number).ok())
            .ok_or_else(|| format!("`{text}` in `{word}` is no port, use 0 to 65535"))
    };
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    let (first, last) = (port(first)?, port(last)?);
    if last < first {
        return Err(format!("the range `{range}` in `{word}` ends before it starts"));
    }
    Ok((first, last))
}

/// Whether Linux knows a signal of this name (with or without `SIG`) or the text
/// is a number other than 0.
pub(crate) fn is_signal(signal: &str) -> bool {
    if let Ok(number) = signal.parse::<i64>() {
        return number != 0;
    }
    let name = signal.to_uppercase();
    let name = name.strip_prefix("SIG").unwrap_or(&name);
    const NAMES: &[&str] = &[
        "ABRT", "ALRM", "BUS", "CHLD", "CLD", "CONT", "FPE", "HUP", "ILL", "INT", "IO", "IOT", "KILL",
        "PIPE", "POLL", "PROF", "PWR", "QUIT", "RTMAX", "RTMIN", "SEGV", "STKFLT", "STOP", "SYS", "TERM",
        "TRAP", "TSTP", "TTIN", "TTOU", "URG", "USR1", "USR2", "VTALRM", "WINCH", "XCPU", "XFSZ",
    ];
    let real_time = |prefix: &str, limit: u32| {
        name.strip_prefix(prefix).is_some_and(|number| {
            !number.starts_with(['0', '+'])
                && number
                    .parse::<u32>()
                    .is_ok_and(|number| (1..=limit).contains(&number))
        })
    };
    NAMES.contains(&name) || real_time("RTMIN+", 15) || real_time("RTMAX-", 14)
}

/// A `--chmod` value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum FileMode {
    /// Octal digits.
    Bits(i32),
    /// A symbolic change such as `u=rwX,go=rX`, checked.
    Symbolic(String),
}

/// Reads a `--chmod` value.
pub(crate) fn file_mode(text: &str) -> Result<FileMode, String> {
    let is_octal = !text.is_empty() && text.bytes().all(|b| (b'0'..=b'7').contains(&b));
    if is_octal && let Ok(bits @ 0..=0o7777) = i32::from_str_radix(text, 8) {
        return Ok(FileMode::Bits(bits));
    }
    if text.starts_with(|c: char| c.is_ascii_digit()) {
        return Err(format!("`{text}` is no file mode, use octal digits up to 7777"));
    }
    if is_symbolic_mode(text) {
        return Ok(FileMode::Symbolic(text.to_owned()));
    }
    Err(format!(
        "`{text}` is no file mode, use octal digits up to 7777 or a change such as `u=rwX,go=rX`"
    ))
}

/// Clauses separated by commas: who, then one or more of an operator with letters.
fn is_symbolic_mode(text: &str) -> bool {
    text.split(',').all(|clause| {
        let rest = clause.trim_start_matches(['a', 'u', 'g', 'o']);
        rest.starts_with(['+', '-', '='])
            && rest.chars().all(|c| {
                matches!(
                    c,
                    '+' | '-' | '=' | 'r' | 'w' | 'x' | 'X' | 's' | 't' | 'u' | 'g' | 'o'
                )
            })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports() {
        let ok = |word: &str| exposed_ports(word).unwrap().ports.join(" ");
        assert_eq!(ok("80"), "80/tcp");
        assert_eq!(ok("53/UDP"), "53/udp");
        assert_eq!(ok("8000-8002/sctp"), "8000/sctp 8001/sctp 8002/sctp");
        assert_eq!(ok("127.0.0.1:80:8080"), "8080/tcp");
        assert_eq!(ok("[::1]:80:8080"), "8080/tcp");
        for bad in [
            "",
            "/tcp",
            "80/http",
            "90-80",
            "http",
            "65536",
            "1.2.3:1:1",
            "10-12:20-21",
        ] {
            assert!(exposed_ports(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn signals() {
        for good in ["SIGTERM", "term", "9", "200", "RTMIN+3", "SIGRTMAX-1"] {
            assert!(is_signal(good), "{good}");
        }
        for bad in ["", "0", "SIGFOO", "RTMIN+16", "RTMAX-15"] {
            assert!(!is_signal(bad), "{bad}");
        }
    }

    #[test]
    fn modes() {
        assert_eq!(file_mode("0644"), Ok(FileMode::Bits(0o644)));
        assert_eq!(file_mode("7777"), Ok(FileMode::Bits(0o7777)));
        for good in ["+x", "u=rwX,go=rX", "a-w", "g=u", "u+r-w"] {
            assert_eq!(file_mode(good), Ok(FileMode::Symbolic(good.to_owned())));
        }
        for bad in ["10644", "899", "0o644", "", "u", "u+r,", "x+u", "rwx", "-1"] {
            assert!(file_mode(bad).is_err(), "{bad}");
        }
    }
}
