//! `ports` of a fault of links: which of their traffic it meets.

use shakedown_contracts::fault::FaultKind;
use shakedown_contracts::plan::Stage;
use shakedown_contracts::ports::{NAMED_PORTS, PORTS_MAX, PROBE_PORT, Ports};

use crate::reader::{TableReader, quoted};
use crate::suggestion;
use crate::tree::{Node, Value};

const EXAMPLE: &str = "write it like `ports = [6379]` or `ports = [\"client\", \"peer\"]`";

/// The value of `ports`; all where it is absent or wrong.
pub(crate) fn read(table: &TableReader<'_>) -> Ports {
    let Some(entry) = table.entry("ports") else {
        return Ports::all();
    };
    let Value::Array(items) = &entry.node.value else {
        let message = format!(
            "`ports` must be a list of ports, this is {}",
            entry.node.value.type_name()
        );
        table.invalid("ports", message, EXAMPLE);
        return Ports::all();
    };
    if items.is_empty() {
        let message = "the list of ports is empty, so the fault would meet nothing";
        table.invalid(
            "ports",
            message,
            "leave `ports` out for all traffic, or name a port",
        );
    }
    if items.len() > PORTS_MAX {
        let message = format!("{} ports; each is probed by itself", items.len());
        table.invalid(
            "ports",
            message,
            format!("name at most {PORTS_MAX}, or write two faults"),
        );
    }
    let mut ports: Vec<u16> = Vec::new();
    for item in items {
        let Some(port) = port(table, item) else {
            continue;
        };
        if ports.contains(&port) {
            let message = format!("port {port} is named twice");
            invalid(table, item, message, "name each port once".to_owned());
        }
        ports.push(port);
    }
    ports.into_iter().collect()
}

fn port(table: &TableReader<'_>, item: &Node) -> Option<u16> {
    match &item.value {
        Value::Integer(number) => {
            let port = u16::try_from(*number).ok().filter(|port| *port > 0);
            if port.is_none() {
                let message = format!("{number} is no port");
                invalid(table, item, message, "ports are 1 to 65535".to_owned());
            }
            if port == Some(PROBE_PORT) {
                let message = format!("port {PROBE_PORT} is that of the harness's own probes");
                let hint = "let the program listen on another port".to_owned();
                invalid(table, item, message, hint);
            }
            port
        }
        Value::Text(name) => {
            let named = NAMED_PORTS.iter().find(|(known, _)| known == name);
            if named.is_none() {
                let known = NAMED_PORTS.iter().map(|(known, _)| *known);
                let hint = suggestion::hint(name, "give a number, or one of", known);
                let message = format!("unknown port {}", quoted(name));
                invalid(table, item, message, hint);
            }
            named.map(|(_, port)| *port)
        }
        other => {
            let message = format!(
                "a port is a number or a name, this is {}",
                other.type_name()
            );
            invalid(table, item, message, EXAMPLE.to_owned());
            None
        }
    }
}

fn invalid(table: &TableReader<'_>, item: &Node, message: String, hint: String) {
    table
        .log
        .invalid(&item.span, &table.key("ports"), message, Some(hint));
}

/// Refuses them where messages have none.
pub(crate) fn check_stage(table: &TableReader<'_>, kind: &FaultKind, stage: Stage) {
    if stage == Stage::Simulation && !kind.ports().is_all() {
        let message = "`ports` is not available in stage `simulation`".to_owned();
        let hint = "available with --stage local: simulated messages have no ports; leave it out, or name `peers`";
        table.log.unavailable(
            &table.place("ports"),
            &table.key("ports"),
            message,
            hint.to_owned(),
        );
    }
}
