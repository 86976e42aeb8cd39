//! Terms from external term format, for the many records of a snapshot.
//!
//! The VM's own reader looks each atom up in a table that all threads lock. Records repeat the same
//! few atoms, so here each is looked up once. What is rare in specs is left to the VM's reader.

use std::collections::HashMap;

use bc_gitops_core::spec::etf::VERSION;
use rustler::types::tuple::make_tuple;
use rustler::{Encoder, Env, Term};

use crate::errors::binary;
use crate::records::trusted;
use crate::spec::existing_atom;

/// Nesting that the stacks of schedulers hold.
const DEPTH: usize = 100;

/// The atoms that were looked up.
pub struct Reader<'a, 'b> {
    env: Env<'a>,
    atoms: HashMap<&'b str, Term<'a>>,
}

impl<'a, 'b> Reader<'a, 'b> {
    pub fn new(env: Env<'a>) -> Self {
        let atoms = HashMap::new();
        Reader { env, atoms }
    }

    /// The terms that stand one behind the other, each with its version byte.
    pub fn all(&mut self, mut bytes: &'b [u8], terms: &mut Vec<Term<'a>>) {
        while let Some((&VERSION, external)) = bytes.split_first() {
            let mut rest = external;
            match self.term(&mut rest, DEPTH) {
                Some(term) => {
                    terms.push(term);
                    bytes = rest;
                }
                None => match trusted(self.env, bytes) {
                    Some((term, used)) => {
                        terms.push(term);
                        bytes = bytes.get(used..).unwrap_or_default();
                    }
                    None => return,
                },
            }
        }
    }

    /// `None` for what the VM's reader is to read.
    fn term(&mut self, bytes: &mut &'b [u8], depth: usize) -> Option<Term<'a>> {
        let depth = depth.checked_sub(1)?;
        Some(match number(bytes, 1)? {
            97 => number(bytes, 1)?.encode(self.env),
            98 => (number(bytes, 4)? as u32 as i32).encode(self.env),
            104 => {
                let arity = number(bytes, 1)?;
                self.several(arity, bytes, depth, make_tuple)?
            }
            106 => Term::list_new_empty(self.env),
            107 => {
                let length = number(bytes, 2)?;
                let characters: Vec<u32> = take(bytes, length)?.iter().map(|&c| c.into()).collect();
                characters.encode(self.env)
            }
            108 => {
                let length = number(bytes, 4)?;
                let list = self.several(length, bytes, depth, |env, items| items.encode(env))?;
                (number(bytes, 1)? == 106).then_some(list)?
            }
            109 => {
                let length = number(bytes, 4)?;
                binary(self.env, take(bytes, length)?)
            }
            116 => self.map(bytes, depth)?,
            119 => {
                let length = number(bytes, 1)?;
                let name = std::str::from_utf8(take(bytes, length)?).ok()?;
                self.atom(name)?
            }
            _ => return None,
        })
    }

    /// One term out of the `count` that follow.
    fn several(
        &mut self,
        count: usize,
        bytes: &mut &'b [u8],
        depth: usize,
        make: impl FnOnce(Env<'a>, &[Term<'a>]) -> Term<'a>,
    ) -> Option<Term<'a>> {
        let mut terms = Vec::with_capacity(count.min(bytes.len()));
        for _ in 0..count {
            terms.push(self.term(bytes, depth)?);
        }
        Some(make(self.env, &terms))
    }

    fn map(&mut self, bytes: &mut &'b [u8], depth: usize) -> Option<Term<'a>> {
        let size = number(bytes, 4)?;
        let mut keys = Vec::with_capacity(size.min(bytes.len()));
        let mut values = Vec::with_capacity(keys.capacity());
        for _ in 0..size {
            keys.push(self.term(bytes, depth)?);
            values.push(self.term(bytes, depth)?);
        }
        Term::map_from_term_arrays(self.env, &keys, &values).ok()
    }

    fn atom(&mut self, name: &'b str) -> Option<Term<'a>> {
        if let Some(atom) = self.atoms.get(name) {
            return Some(*atom);
        }
        let atom = existing_atom(self.env, name)?.to_term(self.env);
        self.atoms.insert(name, atom);
        Some(atom)
    }
}

fn take<'b>(bytes: &mut &'b [u8], count: usize) -> Option<&'b [u8]> {
    let (head, rest) = bytes.split_at_checked(count)?;
    *bytes = rest;
    Some(head)
}

fn number(bytes: &mut &[u8], width: usize) -> Option<usize> {
    let digits = take(bytes, width)?.iter();
    Some(digits.fold(0, |number, &byte| number << 8 | usize::from(byte)))
}
