//! Which devices a container may open: lines for v1's devices controller, a BPF program for v2. Pure.
//!
//! Everything is denied first, then the caller's rules apply in their order, then the devices that every container
//! has (OCI config-linux.md, "Default Devices"; terminals). The last rule that matches decides.

use hone_sys::Instruction;
use oci_spec::runtime::{LinuxDeviceCgroup, LinuxDeviceType};

/// A rule, reduced to what both versions can say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Allow or deny.
    pub allow: bool,
    /// `a`, `b` or `c`.
    pub kind: char,
    /// Every major when absent.
    pub major: Option<u32>,
    /// Every minor when absent.
    pub minor: Option<u32>,
    /// Of `r`, `w`, `m`.
    pub access: String,
}

/// Making any node is harmless: opening it is what the other rules govern.
const NODES: [char; 2] = ['c', 'b'];
/// null, zero, full, random, urandom, tty, ptmx, every pts, and the tunnel device that runc allows, too.
const DEFAULTS: [(u32, Option<u32>); 9] = [
    (1, Some(3)),
    (1, Some(5)),
    (1, Some(7)),
    (1, Some(8)),
    (1, Some(9)),
    (5, Some(0)),
    (5, Some(2)),
    (136, None),
    (10, Some(200)),
];

/// The caller's rules between "deny all" and the devices that every container has.
pub fn complete(given: &[LinuxDeviceCgroup]) -> Vec<Rule> {
    let all = |allow| Rule { allow, kind: 'a', major: None, minor: None, access: "rwm".into() };
    let mut rules = vec![all(false)];
    rules.extend(given.iter().map(rule_of));
    rules.extend(NODES.map(|kind| Rule { kind, access: "m".into(), ..all(true) }));
    rules.extend(DEFAULTS.map(|(major, minor)| Rule { kind: 'c', major: Some(major), minor, ..all(true) }));
    rules
}

fn rule_of(given: &LinuxDeviceCgroup) -> Rule {
    let kind = match given.typ() {
        Some(LinuxDeviceType::B) => 'b',
        Some(LinuxDeviceType::C | LinuxDeviceType::U) => 'c',
        _ => 'a',
    };
    let number = |value: Option<i64>| value.and_then(|v| u32::try_from(v).ok());
    let access = given.access().clone().filter(|a| !a.is_empty()).unwrap_or_else(|| "rwm".into());
    Rule { allow: given.allow(), kind, major: number(given.major()), minor: number(given.minor()), access }
}

/// File (`devices.allow` or `devices.deny`) and line for each rule, in order.
pub fn v1_lines(rules: &[Rule]) -> Vec<(&'static str, String)> {
    rules.iter().map(|rule| (if rule.allow { "devices.allow" } else { "devices.deny" }, line(rule))).collect()
}

fn line(rule: &Rule) -> String {
    if rule.kind == 'a' {
        return "a".into();
    }
    let number = |value: Option<u32>| value.map_or("*".into(), |v| v.to_string());
    format!("{} {}:{} {}", rule.kind, number(rule.major), number(rule.minor), rule.access)
}

// struct bpf_cgroup_dev_ctx: access and type in one word, then major, then minor (linux/bpf.h).
const TYPE_BLOCK: i32 = 1;
const TYPE_CHAR: i32 = 2;
const ACCESS_MKNOD: i32 = 1;
const ACCESS_READ: i32 = 2;
const ACCESS_WRITE: i32 = 4;
// Opcodes (linux/bpf_common.h): class | size or source | operation.
const LOAD_WORD: u8 = 0x61;
const AND: u8 = 0x54;
const SHIFT_RIGHT: u8 = 0x74;
const COPY: u8 = 0xbc;
const SET: u8 = 0xb7;
const SKIP_IF_EQUAL: u8 = 0x15;
const SKIP_IF_NOT: u8 = 0x55;
const SKIP_IF_NOT_REGISTER: u8 = 0x5d;
const EXIT: u8 = 0x95;
// Registers: 0 is the verdict, 1 the context and later scratch.
const VERDICT: u8 = 0;
const SCRATCH: u8 = 1;
const TYPE: u8 = 2;
const ACCESS: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;

/// The program that lets through what `rules` allow: the last rule is tried first.
pub fn v2_program(rules: &[Rule]) -> Vec<Instruction> {
    let mut program = vec![
        op(LOAD_WORD, TYPE, SCRATCH, 0, 0),
        op(COPY, ACCESS, TYPE, 0, 0),
        op(AND, TYPE, 0, 0, 0xffff),
        op(SHIFT_RIGHT, ACCESS, 0, 0, 16),
        op(LOAD_WORD, MAJOR, SCRATCH, 4, 0),
        op(LOAD_WORD, MINOR, SCRATCH, 8, 0),
    ];
    for rule in rules.iter().rev() {
        program.extend(block(rule));
        if rule.kind == 'a' {
            return program;
        }
    }
    program.extend(verdict(false));
    program
}

/// Tests that jump past the verdict when they fail; the jumps' lengths are known only at the end.
fn block(rule: &Rule) -> Vec<Instruction> {
    let mut tests = Vec::new();
    if rule.kind != 'a' {
        let kind = if rule.kind == 'b' { TYPE_BLOCK } else { TYPE_CHAR };
        tests.push(op(SKIP_IF_NOT, TYPE, 0, 0, kind));
        let mask = access_mask(&rule.access);
        tests.push(op(COPY, SCRATCH, ACCESS, 0, 0));
        tests.push(op(AND, SCRATCH, 0, 0, mask));
        tests.push(if rule.allow {
            op(SKIP_IF_NOT_REGISTER, SCRATCH, ACCESS, 0, 0)
        } else {
            op(SKIP_IF_EQUAL, SCRATCH, 0, 0, 0)
        });
        for (register, number) in [(MAJOR, rule.major), (MINOR, rule.minor)] {
            if let Some(number) = number {
                tests.push(op(SKIP_IF_NOT, register, 0, 0, number as i32));
            }
        }
    }
    let length = tests.len() as i16 + 2;
    for (at, test) in tests.iter_mut().enumerate() {
        if [SKIP_IF_NOT, SKIP_IF_NOT_REGISTER, SKIP_IF_EQUAL].contains(&test.code) {
            test.offset = length - at as i16 - 1;
        }
    }
    tests.extend(verdict(rule.allow));
    tests
}

fn verdict(allow: bool) -> [Instruction; 2] {
    [op(SET, VERDICT, 0, 0, i32::from(allow)), op(EXIT, 0, 0, 0, 0)]
}

fn access_mask(access: &str) -> i32 {
    let bit = |c, bit| if access.contains(c) { bit } else { 0 };
    bit('m', ACCESS_MKNOD) | bit('r', ACCESS_READ) | bit('w', ACCESS_WRITE)
}

fn op(code: u8, to: u8, from: u8, offset: i16, immediate: i32) -> Instruction {
    Instruction { code, registers: from << 4 | to, offset, immediate }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(json: &str) -> Vec<Rule> {
        complete(&serde_json::from_str::<Vec<LinuxDeviceCgroup>>(json).expect("rules"))
    }

    const DOCKER: &str = r#"[{"allow":false,"access":"rwm"},
        {"allow":true,"type":"c","major":10,"minor":229,"access":"rw"},
        {"allow":false,"type":"b","major":8,"access":"w"}]"#;

    #[test]
    fn v1_lines_keep_the_order() {
        let lines: Vec<String> =
            v1_lines(&rules(DOCKER)).iter().map(|(file, line)| format!("{file} {line}")).collect();
        assert_eq!(lines[0], "devices.deny a");
        assert_eq!(lines[2], "devices.allow c 10:229 rw");
        assert_eq!(lines[3], "devices.deny b 8:* w");
        assert!(lines.contains(&"devices.allow c 136:* rwm".to_owned()));
        assert!(lines.contains(&"devices.allow b *:* m".to_owned()));
    }

    /// Runs a program as the kernel would, for the opcodes used here.
    fn run(program: &[Instruction], kind: i32, access: i32, major: i32, minor: i32) -> bool {
        let context = [access << 16 | kind, major, minor];
        let mut registers = [0_i32; 6];
        let mut at = 0;
        for _ in 0..10_000 {
            let Instruction { code, registers: names, offset, immediate } = program[at];
            let (to, from) = (usize::from(names & 15), usize::from(names >> 4));
            at += 1;
            let skip = match code {
                LOAD_WORD => {
                    registers[to] = context[offset as usize / 4];
                    false
                }
                COPY => {
                    registers[to] = registers[from];
                    false
                }
                AND => {
                    registers[to] &= immediate;
                    false
                }
                SHIFT_RIGHT => {
                    registers[to] >>= immediate;
                    false
                }
                SET => {
                    registers[to] = immediate;
                    false
                }
                SKIP_IF_NOT => registers[to] != immediate,
                SKIP_IF_EQUAL => registers[to] == immediate,
                SKIP_IF_NOT_REGISTER => registers[to] != registers[from],
                EXIT => return registers[0] == 1,
                other => panic!("opcode {other:#x}"),
            };
            if skip {
                at += offset as usize;
            }
        }
        panic!("no exit");
    }

    #[test]
    fn v2_program_decides_as_the_rules_say() {
        let program = v2_program(&rules(DOCKER));
        let (rw, r, m) = (ACCESS_READ | ACCESS_WRITE, ACCESS_READ, ACCESS_MKNOD);
        assert!(run(&program, TYPE_CHAR, rw, 1, 3), "null");
        assert!(run(&program, TYPE_CHAR, r, 10, 229), "allowed by the caller");
        assert!(!run(&program, TYPE_CHAR, rw | m, 10, 229), "more than allowed");
        assert!(run(&program, TYPE_BLOCK, m, 8, 0), "making a node");
        assert!(!run(&program, TYPE_BLOCK, r, 8, 0), "a disk");
        assert!(!run(&program, TYPE_CHAR, r, 1, 1), "memory");
        let privileged = v2_program(&rules(r#"[{"allow":true,"access":"rwm"}]"#));
        assert!(run(&privileged, TYPE_BLOCK, rw, 8, 0));
    }
}
