//! What a module says of itself before anything of it is compiled: what compiling it may cost, and which version of the ABI it speaks.
//! Whether the module is valid is the compiler's business; a damaged one is looked at up to the damage.

use std::collections::HashSet;

use wasmparser::{
    BlockType, ExternalKind, FuncType, FunctionBody, Operator, Parser, Payload, Result, TypeRef,
};

/// What a module says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Scan {
    /// Its longest function, and how many bytes that has.
    pub(crate) longest: Option<(usize, usize)>,
    /// The function that costs most to compile, and how much.
    pub(crate) costliest: Option<(usize, Cost)>,
    /// What `zenith_abi_version` returns, where it does nothing else.
    pub(crate) version: Option<i32>,
}

/// What makes compiling a function cost memory: the compiler keeps a table of values by blocks, so that a few kilobytes can ask for
/// gigabytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cost {
    pub(crate) blocks: u64,
    /// Locals that it uses, parameters and results of its blocks.
    pub(crate) values: u64,
    /// Results of its calls.
    results: u64,
}

impl Cost {
    /// Entries of the compiler's tables, about.
    pub(crate) fn entries(self) -> u64 {
        self.blocks.saturating_mul(self.values).saturating_add(self.results.saturating_mul(4))
    }
}

/// What is known of a module while it is read.
#[derive(Default)]
struct Module {
    types: Vec<FuncType>,
    /// Types of its functions, those that it imports first.
    functions: Vec<u32>,
    imported: usize,
    bodies: usize,
    version_function: Option<u32>,
    found: Scan,
}

/// Looks at a module.
pub(crate) fn scan(bytes: &[u8]) -> Scan {
    let mut module = Module::default();
    for payload in Parser::new(0).parse_all(bytes) {
        let read = payload.and_then(|payload| module.read(payload));
        if read.is_err() {
            break;
        }
    }
    module.found
}

impl Module {
    fn read(&mut self, payload: Payload<'_>) -> Result<()> {
        match payload {
            Payload::TypeSection(types) => {
                self.types = types.into_iter_err_on_gc_types().collect::<Result<_>>()?;
            }
            Payload::ImportSection(imports) => {
                for import in imports.into_imports() {
                    if let TypeRef::Func(ty) = import?.ty {
                        self.functions.push(ty);
                    }
                }
                self.imported = self.functions.len();
            }
            Payload::FunctionSection(functions) => {
                for ty in functions {
                    self.functions.push(ty?);
                }
            }
            Payload::ExportSection(exports) => {
                for export in exports {
                    let export = export?;
                    if (export.kind, export.name) == (ExternalKind::Func, "zenith_abi_version") {
                        self.version_function = Some(export.index);
                    }
                }
            }
            Payload::CodeSectionEntry(body) => self.function(&body)?,
            _ => {}
        }
        Ok(())
    }

    fn function(&mut self, body: &FunctionBody<'_>) -> Result<()> {
        let number = self.bodies;
        self.bodies += 1;
        let length = body.range().len();
        if self.found.longest.is_none_or(|(_, longest)| length > longest) {
            self.found.longest = Some((number, length));
        }
        let mut cost = Cost { blocks: 1, ..Cost::default() };
        let mut locals = HashSet::new();
        let (mut constant, mut operators) = (None, 0);
        for operator in body.get_operators_reader()? {
            let operator = operator?;
            operators += 1;
            cost.blocks += blocks_of(&operator);
            match operator {
                Operator::Block { blockty } | Operator::Loop { blockty } | Operator::If { blockty } => {
                    cost.values += self.values_of(blockty);
                }
                Operator::LocalGet { local_index }
                | Operator::LocalSet { local_index }
                | Operator::LocalTee { local_index } => {
                    locals.insert(local_index);
                }
                Operator::Call { function_index } => {
                    let ty = self.functions.get(function_index as usize);
                    cost.results += ty.map_or(0, |ty| self.results_of(*ty));
                }
                Operator::CallIndirect { type_index, .. } => cost.results += self.results_of(type_index),
                Operator::I32Const { value } if operators == 1 => constant = Some(value),
                _ => {}
            }
        }
        cost.values += locals.len() as u64;
        if self.found.costliest.is_none_or(|(_, most)| cost.entries() > most.entries()) {
            self.found.costliest = Some((number, cost));
        }
        // The constant and the end.
        if operators == 2 && self.version_function.is_some_and(|f| f as usize == self.imported + number) {
            self.found.version = constant;
        }
        Ok(())
    }

    fn values_of(&self, block: BlockType) -> u64 {
        match block {
            BlockType::Empty => 0,
            BlockType::Type(_) => 1,
            BlockType::FuncType(ty) => {
                let values = |ty: &FuncType| (ty.params().len() + ty.results().len()) as u64;
                self.types.get(ty as usize).map_or(0, values)
            }
        }
    }

    fn results_of(&self, ty: u32) -> u64 {
        self.types.get(ty as usize).map_or(0, |ty| ty.results().len() as u64)
    }
}

/// Blocks that the compiler makes of an operator, at the most: checks of deadline and fuel, of table entries that are made on their
/// first use, and of bounds are branches, too.
fn blocks_of(operator: &Operator<'_>) -> u64 {
    match operator {
        Operator::Block { .. } | Operator::Else | Operator::BrIf { .. } => 1,
        Operator::Loop { .. } => 7,
        Operator::If { .. } => 3,
        Operator::BrTable { targets } => u64::from(targets.len()) + 1,
        Operator::CallIndirect { .. }
        | Operator::ReturnCallIndirect { .. }
        | Operator::TableGet { .. }
        | Operator::TableSet { .. } => 2,
        Operator::TableGrow { .. }
        | Operator::TableFill { .. }
        | Operator::TableInit { .. }
        | Operator::TableCopy { .. } => 4,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scanned(text: &str) -> Scan {
        scan(&wat::parse_str(text).unwrap())
    }

    #[test]
    fn the_longest_function_is_found() {
        let longest = |text: &str| scanned(text).longest;
        assert_eq!(longest("(module (memory 1) (data (i32.const 0) \"x\"))"), None);
        // No locals, the instructions, and the end.
        assert_eq!(longest("(module (func) (func nop nop nop) (func nop))"), Some((1, 5)));
        let long = format!("(module (func nop) (func {}))", "nop ".repeat(70_000));
        assert_eq!(longest(&long), Some((1, 70_002)));
        let whole = wat::parse_str(&long).unwrap();
        for end in [0, 7, 8, 9, 20, whole.len() - 1] {
            assert!(scan(&whole[..end]).longest.is_none_or(|(at, _)| at == 0), "{end}");
        }
        assert_eq!(scan(b"\0asm\x01\0\0\0\x0a\xff\xff\xff\xff\xff\x01"), Scan::default());
    }

    #[test]
    fn what_blocks_and_calls_cost_is_counted() {
        let cost = |text: &str| scanned(text).costliest.unwrap().1;
        assert_eq!(cost("(module (func))"), Cost { blocks: 1, values: 0, results: 0 });
        let text = "(module (type $t (func (param i32) (result i32 i32)))
            (func $f (param i32) (result i32 i32) (local.get 0) (local.get 0))
            (func (param i32 i32) (local i64)
                (local.get 0) (block (type $t) (call $f)) drop drop
                (local.get 0) (if (then) (else)) (local.set 1 (local.get 0))
                (block (result i32) (i32.const 1) (br_if 0 (local.get 0))) drop))";
        assert_eq!(cost(text), Cost { blocks: 1 + 1 + 3 + 1 + 1 + 1, values: 2 + 3 + 1, results: 2 });
        let text = "(module (table 1 funcref) (type $t (func))
            (func (loop (br_table 0 0 0 (i32.const 0)))
                (call_indirect (type $t) (i32.const 0)) (drop (table.get (i32.const 0)))
                (table.copy (i32.const 0) (i32.const 0) (i32.const 0))))";
        assert_eq!(cost(text).blocks, 1 + 7 + 3 + 2 + 2 + 4);
    }

    #[test]
    fn a_version_is_read_where_it_is_a_constant() {
        let version = |body: &str| {
            scanned(&format!(
                "(module (import \"zenith\" \"log\" (func (param i32)))
                 (func $other (result i32) (i32.const 7))
                 (func (export \"zenith_abi_version\") (result i32) {body}))"
            ))
            .version
        };
        assert_eq!(version("(i32.const 2)"), Some(2));
        assert_eq!(version("(i32.add (i32.const 1) (i32.const 1))"), None);
        assert_eq!(version("(call $other)"), None);
        assert_eq!(scanned("(module (func (export \"process\") (result i32) (i32.const 2)))").version, None);
    }
}
