//! Contents of `/etc/hosts` and `/etc/resolv.conf` as BuildKit generates them.

/// `/etc/hosts`: localhost and the sandbox's own name, IPv6 localhost, then `extra` as
/// `(host name, address)` in order.
pub fn hosts(hostname: &str, extra: &[(String, String)]) -> Vec<u8> {
    let mut text = format!("127.0.0.1\tlocalhost {hostname}\n");
    text.push_str("::1\tlocalhost ip6-localhost ip6-loopback\n");
    for (name, address) in extra {
        text.push_str(&format!("{address}\t{name}\n"));
    }
    text.into_bytes()
}

/// The host file to read for [`resolv_conf`]: systemd-resolved's own list when `host` (the content
/// of `/etc/resolv.conf`) names only its local stub 127.0.0.53, else the same file.
pub fn resolv_conf_path(host: &[u8]) -> &'static str {
    let servers = nameservers(host);
    match servers.as_slice() {
        [only] if only == "127.0.0.53" => "/run/systemd/resolve/resolv.conf",
        _ => "/etc/resolv.conf",
    }
}

/// `/etc/resolv.conf` from the host's. With the host's network it is the same text; in a network
/// of its own (`isolated`) loopback servers are left out, and Google's are used when none is left.
pub fn resolv_conf(host: &[u8], isolated: bool) -> Vec<u8> {
    let text = String::from_utf8_lossy(host);
    let mut lines: Vec<String> = Vec::new();
    let mut servers = 0;
    for line in text.lines() {
        match server_of(line) {
            Some(server) if isolated && is_loopback(server) => {}
            Some(_) => {
                servers += 1;
                lines.push(line.to_owned());
            }
            None => lines.push(line.to_owned()),
        }
    }
    if servers == 0 {
        lines.push("nameserver 8.8.8.8".to_owned());
        lines.push("nameserver 8.8.4.4".to_owned());
    }
    let mut text = lines.join("\n");
    text.push('\n');
    text.into_bytes()
}

fn nameservers(content: &[u8]) -> Vec<String> {
    String::from_utf8_lossy(content)
        .lines()
        .filter_map(|line| server_of(line).map(str::to_owned))
        .collect()
}

fn server_of(line: &str) -> Option<&str> {
    let mut words = line.split_whitespace();
    (words.next() == Some("nameserver")).then(|| words.next())?
}

fn is_loopback(server: &str) -> bool {
    let address = server.split('%').next().unwrap_or(server);
    address
        .parse::<std::net::IpAddr>()
        .is_ok_and(|address| address.is_loopback())
}
