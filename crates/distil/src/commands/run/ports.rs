//! `-p`: the program has the network of this machine, so that its ports are the machine's. What is published is
//! checked, not mapped.

use std::fmt;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::Path;

use distil_sandbox::Network;

use crate::error::CliError;

/// Ports that the program is to be reached at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Published {
    /// As it was written.
    text: String,
    ports: RangeInclusive<u16>,
    protocol: Protocol,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Protocol {
    Tcp,
    Udp,
}

impl fmt::Display for Protocol {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}

/// `[ADDRESS:]HOST:CONTAINER[/PROTOCOL]`: only a port that is to stay what it is can be had.
pub(super) fn parse(text: &str, network: Network) -> Result<Published, CliError> {
    let wrong = |problem: String| CliError::usage(format!("`-p {text}`: {problem}"));
    if network == Network::None {
        return Err(wrong("with `--network none` nothing can be reached".into()));
    }
    let (ports, protocol) = match text.split_once('/') {
        None => (text, Protocol::Tcp),
        Some((ports, "tcp")) => (ports, Protocol::Tcp),
        Some((ports, "udp")) => (ports, Protocol::Udp),
        Some((_, other)) => return Err(wrong(format!("`{other}` is not tcp or udp"))),
    };
    let (before, container) = ports.rsplit_once(':').unwrap_or(("", ports));
    let (address, host) = match before.rsplit_once(':') {
        Some((address, host)) => (address, host),
        None if before.is_empty() => ("", container),
        None => ("", before),
    };
    let no_port =
        |port: &str| wrong(format!("`{port}` is no port")).hint("write HOST:CONTAINER, such as 8080:8080");
    range(host).ok_or_else(|| no_port(host))?;
    let ports = range(container).ok_or_else(|| no_port(container))?;
    if !address.is_empty() && address != "0.0.0.0" && address != "[::]" {
        return Err(wrong(format!(
            "the program has the network of this machine and chooses its addresses itself, so that `{address}` \
             cannot be imposed on it"
        ))
        .hint("tell the program to listen there"));
    }
    if host != container {
        return Err(wrong(format!(
            "the program has the network of this machine, so that its port {container} is the machine's port \
             {container} and cannot be {host}"
        ))
        .hint(format!(
            "use -p {container}:{container}, or tell the program to listen on {host}"
        )));
    }
    Ok(Published {
        text: text.to_owned(),
        ports,
        protocol,
    })
}

fn range(text: &str) -> Option<RangeInclusive<u16>> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (first.parse().ok()?, last.parse().ok()?);
    (first > 0 && first <= last).then_some(first..=last)
}

/// Refuses ports that another program has, or that this user's programs cannot have (`ordinary`: the user is not
/// root). What the kernel does not tell counts as free.
pub(super) fn check_free(published: &[Published], ordinary: bool) -> Result<(), CliError> {
    for wanted in published {
        if ordinary {
            check_privilege(wanted)?;
        }
        if let Some(socket) = listening(wanted).next() {
            return Err(taken(wanted, &socket));
        }
    }
    Ok(())
}

fn check_privilege(wanted: &Published) -> Result<(), CliError> {
    let setting = "net.ipv4.ip_unprivileged_port_start";
    let text = fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start").unwrap_or_default();
    let first: u16 = text.trim().parse().unwrap_or(0);
    let port = *wanted.ports.start();
    if port >= first {
        return Ok(());
    }
    Err(CliError::failed(format!(
        "`-p {}`: port {port} is below {first}, where programs of an ordinary user cannot listen",
        wanted.text
    ))
    .hint(format!(
        "tell the program to listen on a higher port, or allow it as root: sysctl -w {setting}={port}"
    )))
}

fn taken(wanted: &Published, socket: &Listening) -> CliError {
    let who = match owner(socket.inode) {
        Some((pid, name)) => format!("`{name}` (process {pid})"),
        None => "another program".to_owned(),
    };
    CliError::failed(format!(
        "`-p {}`: port {} is taken: {who} listens on {}/{}",
        wanted.text,
        socket.address.port(),
        socket.address,
        wanted.protocol
    ))
    .hint("end that program, or tell this one to listen on another port")
}

/// A socket that waits for somebody.
#[derive(Debug, PartialEq, Eq)]
struct Listening {
    address: SocketAddr,
    inode: u64,
}

fn listening(wanted: &Published) -> impl Iterator<Item = Listening> {
    // TCP's state LISTEN, and that of a UDP socket which is not connected (proc(5)).
    let (files, state) = match wanted.protocol {
        Protocol::Tcp => (["/proc/net/tcp", "/proc/net/tcp6"], "0A"),
        Protocol::Udp => (["/proc/net/udp", "/proc/net/udp6"], "07"),
    };
    let ports = wanted.ports.clone();
    let tables = files
        .into_iter()
        .map(|file| fs::read_to_string(file).unwrap_or_default());
    tables
        .flat_map(move |table| {
            table
                .lines()
                .filter_map(|line| entry(line, state))
                .collect::<Vec<_>>()
        })
        .filter(move |socket| ports.contains(&socket.address.port()))
}

/// A line of `/proc/net/tcp` and its like, where the socket has this state.
fn entry(line: &str, state: &str) -> Option<Listening> {
    let mut words = line.split_whitespace();
    let address = address(words.nth(1)?)?;
    (words.nth(1)? == state).then_some(())?;
    let inode = words.nth(5)?.parse().ok()?;
    Some(Listening { address, inode })
}

/// `ADDRESS:PORT` in hexadecimal digits; words of the address have the byte order of the machine.
fn address(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |at: usize| {
        let digits = address.get(at * 8..at * 8 + 8)?;
        Some(u32::from_str_radix(digits, 16).ok()?.to_ne_bytes())
    };
    let address = match address.len() {
        8 => IpAddr::from(Ipv4Addr::from(word(0)?)),
        32 => {
            let words = [word(0)?, word(1)?, word(2)?, word(3)?];
            let bytes: [u8; 16] = words.concat().try_into().ok()?;
            IpAddr::from(Ipv6Addr::from(bytes))
        }
        _ => return None,
    };
    Some(SocketAddr::new(address, port))
}

/// The process that has a socket, where this user may know it.
fn owner(inode: u64) -> Option<(u32, String)> {
    let wanted = format!("socket:[{inode}]");
    for process in fs::read_dir("/proc").ok()?.flatten() {
        let pid = process.file_name().to_str().and_then(|name| name.parse().ok());
        if let Some(pid) = pid
            && has(&process.path(), &wanted)
        {
            let name = fs::read_to_string(process.path().join("comm")).ok()?;
            return Some((pid, name.trim_end().to_owned()));
        }
    }
    None
}

fn has(process: &Path, wanted: &str) -> bool {
    let descriptors = fs::read_dir(process.join("fd")).into_iter().flatten().flatten();
    let mut targets = descriptors.filter_map(|entry| fs::read_link(entry.path()).ok());
    targets.any(|target| target.as_os_str() == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_stay_what_they_are() {
        for (text, fits) in [
            ("8080:8080", true),
            ("8080:8080/tcp", true),
            ("53:53/udp", true),
            ("0.0.0.0:80:80", true),
            ("[::]:80:80", true),
            ("8000-8010:8000-8010", true),
            ("80", true),
            ("8080:80", false),
            ("8080:8080/sctp", false),
            ("127.0.0.1:80:80", false),
            ("9-8:9-8", false),
            ("0:0", false),
            ("70000:70000", false),
            ("a:a", false),
            ("", false),
            (":", false),
            ("/", false),
        ] {
            assert_eq!(parse(text, Network::Host).is_ok(), fits, "{text}");
            assert!(parse(text, Network::None).is_err());
        }
        let told = parse("8080:80", Network::Host).unwrap_err().to_string();
        assert!(told.contains("port 80") && told.contains("-p 80:80"), "{told}");
    }

    #[test]
    fn tables_of_the_kernel_are_read() {
        let line = "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 12345 1 0000000000000000 100 0 0 10 0";
        let local = Listening {
            address: "127.0.0.1:8080".parse().unwrap(),
            inode: 12345,
        };
        #[cfg(target_endian = "little")]
        assert_eq!(entry(line, "0A"), Some(local));
        assert_eq!(entry(line, "07"), None);
        let six = "00000000000000000000000000000000:0050";
        assert_eq!(address(six), Some("[::]:80".parse().unwrap()));
        for text in [
            "",
            ":",
            "0100007F",
            "0100007F:",
            "x100007F:0050",
            "01:0050",
            "ääää:0050",
        ] {
            assert_eq!(address(text), None, "{text}");
        }
        assert_eq!(entry("  sl  local_address rem_address   st tx_queue", "0A"), None);
    }

    #[test]
    fn a_port_in_use_is_told_with_its_program() {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        let wanted = parse(&format!("{port}:{port}"), Network::Host).unwrap();
        let told = check_free(std::slice::from_ref(&wanted), false)
            .unwrap_err()
            .to_string();
        let own = format!("(process {}) listens on 127.0.0.1:{port}/tcp", std::process::id());
        assert!(
            told.contains(&format!("port {port} is taken: ")) && told.contains(&own),
            "{told}"
        );
        let udp = parse(&format!("{port}:{port}/udp"), Network::Host).unwrap();
        check_free(&[udp], false).unwrap();
        drop(socket);
        check_free(&[wanted], false).unwrap();
    }
}
