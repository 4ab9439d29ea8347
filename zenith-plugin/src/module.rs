//! What a compiled module is before any of its code runs: which ABI it speaks, whether its exports and imports have the
//! right types, whether it fits its limits. Calls nothing.

use wasmtime::{ExternType, FuncType, Module, ValType};

use crate::{Limits, PluginError};

/// Bytes of a page of memory.
pub(crate) const PAGE: usize = 65_536;

/// Which convention a module follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Abi {
    /// Version 0: bytes that are changed in place.
    Bytes,
    /// Version 1: tensors with element type and shape.
    Tensor,
}

impl Abi {
    /// Its number, as in `docs/plugin-abi.md`.
    #[must_use]
    pub const fn version(self) -> u32 {
        match self {
            Abi::Bytes => 0,
            Abi::Tensor => 1,
        }
    }
}

/// What is known of a module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) abi: Abi,
    pub(crate) initializes: bool,
    pub(crate) allocates: bool,
    pub(crate) configures: bool,
    pub(crate) batches: bool,
}

/// Types of functions that the ABI knows.
#[derive(Clone, Copy)]
struct Signature {
    params: usize,
    results: usize,
    text: &'static str,
}

const NOTHING: Signature = Signature { params: 0, results: 0, text: "a function () -> ()" };
const GIVES: Signature = Signature { params: 0, results: 1, text: "a function () -> i32" };
const MAPS: Signature = Signature { params: 1, results: 1, text: "a function (i32) -> i32" };
const RANGE: Signature = Signature { params: 2, results: 1, text: "a function (i32, i32) -> i32" };
const LOG: Signature = Signature { params: 3, results: 0, text: "a function (i32, i32, i32) -> ()" };

impl Signature {
    /// Everything the ABI passes is an i32.
    fn fits(self, ty: &ExternType) -> bool {
        let ExternType::Func(ty) = ty else {
            return false;
        };
        let plain = |ty: ValType| matches!(ty, ValType::I32);
        ty.params().len() == self.params
            && ty.results().len() == self.results
            && ty.params().all(plain)
            && ty.results().all(plain)
    }
}

/// Checks all that can be checked without running code.
pub(crate) fn inspect(plugin: &str, module: &Module, limits: &Limits) -> Result<Shape, PluginError> {
    imports(plugin, module)?;
    let has = |name: &str, signature: Signature| match module.get_export(name) {
        None => Ok(false),
        Some(ty) if signature.fits(&ty) => Ok(true),
        Some(ty) => Err(wrong(plugin, name, &ty, signature.text)),
    };
    let missing = |export| Err(PluginError::MissingExport { plugin: plugin.to_owned(), export });
    let versioned = has("zenith_abi_version", GIVES)?;
    let abi = match (versioned, module.get_export("process")) {
        (true, _) => Abi::Tensor,
        (false, Some(_)) => Abi::Bytes,
        (false, None) => return missing("process(i32, i32) -> i32 or zenith_abi_version() -> i32"),
    };
    match module.get_export("memory") {
        None => return missing("its memory as \"memory\""),
        Some(ExternType::Memory(ty)) if !ty.is_64() && !ty.is_shared() => {}
        Some(ty) => return Err(wrong(plugin, "memory", &ty, "a 32-bit memory that is not shared")),
    }
    let shape = Shape {
        abi,
        initializes: has("_initialize", NOTHING)?,
        allocates: has("zenith_alloc", MAPS)?,
        configures: abi == Abi::Tensor && has("zenith_configure", RANGE)?,
        batches: abi == Abi::Tensor && has("zenith_process_batch", MAPS)?,
    };
    match abi {
        Abi::Bytes => {
            has("process", RANGE)?;
        }
        Abi::Tensor => {
            if !has("zenith_describe", GIVES)? {
                return missing("zenith_describe() -> i32");
            }
            if !has("zenith_process", MAPS)? {
                return missing("zenith_process(i32) -> i32");
            }
        }
    }
    resources(plugin, module, limits)?;
    Ok(shape)
}

fn imports(plugin: &str, module: &Module) -> Result<(), PluginError> {
    for import in module.imports() {
        if (import.module(), import.name()) != ("zenith", "log") {
            return Err(PluginError::UnknownImport {
                plugin: plugin.to_owned(),
                module: import.module().to_owned(),
                name: import.name().to_owned(),
            });
        }
        if !LOG.fits(&import.ty()) {
            return Err(wrong(plugin, "the import zenith.log", &import.ty(), LOG.text));
        }
    }
    Ok(())
}

/// What the module needs from its first moment on.
fn resources(plugin: &str, module: &Module, limits: &Limits) -> Result<(), PluginError> {
    let plugin = || plugin.to_owned();
    let needs = module.resources_required();
    let pages = usize::try_from(needs.max_initial_memory_size.unwrap_or(0)).unwrap_or(usize::MAX);
    let wanted = pages.saturating_mul(PAGE);
    if wanted > limits.memory {
        return Err(PluginError::Memory { plugin: plugin(), wanted, limit: limits.memory });
    }
    let too_many = |what, wanted: u64, limit: u32| {
        Err(PluginError::Tables { plugin: plugin(), what, wanted, limit: u64::from(limit) })
    };
    if needs.num_tables > limits.tables {
        return too_many("tables", u64::from(needs.num_tables), limits.tables);
    }
    let elements = needs.max_initial_table_size.unwrap_or(0);
    if elements > u64::from(limits.table_elements) {
        return too_many("table elements", elements, limits.table_elements);
    }
    Ok(())
}

fn wrong(plugin: &str, name: &str, found: &ExternType, expected: &'static str) -> PluginError {
    PluginError::WrongSignature {
        plugin: plugin.to_owned(),
        name: name.to_owned(),
        found: shown(found),
        expected,
    }
}

/// Names and types of what a module exports.
pub(crate) fn exports(module: &Module) -> Vec<String> {
    module.exports().map(|export| format!("{}: {}", export.name(), shown(&export.ty()))).collect()
}

/// Names and types of what a module imports.
pub(crate) fn imported(module: &Module) -> Vec<String> {
    module.imports().map(|i| format!("{}.{}: {}", i.module(), i.name(), shown(&i.ty()))).collect()
}

/// A type in the words of the documents.
fn shown(ty: &ExternType) -> String {
    let bounds = |least: u64, most: Option<u64>| match most {
        Some(most) => format!("{least} to {most}"),
        None => format!("{least} or more"),
    };
    match ty {
        ExternType::Func(ty) => format!("a function {}", function(ty)),
        ExternType::Memory(ty) => format!("a memory of {} pages", bounds(ty.minimum(), ty.maximum())),
        ExternType::Table(ty) => {
            format!("a table of {} {}", bounds(ty.minimum(), ty.maximum()), ty.element())
        }
        ExternType::Global(ty) => format!("a global {}", ty.content()),
        ExternType::Tag(_) => "a tag".to_owned(),
    }
}

fn function(ty: &FuncType) -> String {
    let list = |types: &mut dyn Iterator<Item = ValType>| {
        types.map(|ty| ty.to_string()).collect::<Vec<_>>().join(", ")
    };
    let (params, mut results) = (list(&mut ty.params()), ty.results());
    match results.len() {
        1 => format!("({params}) -> {}", list(&mut results)),
        _ => format!("({params}) -> ({})", list(&mut results)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codegen;

    fn inspected(text: &str) -> Result<Shape, PluginError> {
        let engine = codegen::engine(512 << 10, false).unwrap();
        let module = codegen::compile(&engine, &wat::parse_str(text).unwrap()).unwrap();
        inspect("p", &module, &Limits::default())
    }

    const MEMORY: &str = "(memory (export \"memory\") 1)";

    fn func(name: &str, params: usize, results: usize) -> String {
        let (params, results) = (" i32".repeat(params), " i32".repeat(results));
        format!("(func (export \"{name}\") (param{params}) (result{results}) unreachable)")
    }

    fn module(parts: &[String]) -> String {
        format!("(module {MEMORY} {})", parts.join(" "))
    }

    #[test]
    fn exports_tell_the_abi() {
        let shape = inspected(&module(&[func("process", 2, 1)])).unwrap();
        assert_eq!(shape.abi, Abi::Bytes);
        let tensor =
            [func("zenith_abi_version", 0, 1), func("zenith_describe", 0, 1), func("zenith_process", 1, 1)];
        let shape = inspected(&module(&tensor)).unwrap();
        assert_eq!(shape.abi, Abi::Tensor);
        assert!(!shape.allocates && !shape.batches && !shape.configures && !shape.initializes);
        let both = [tensor.concat(), func("process", 2, 1), func("zenith_process_batch", 1, 1)];
        let shape = inspected(&module(&both)).unwrap();
        assert!(shape.abi == Abi::Tensor && shape.batches);
    }

    #[test]
    fn what_is_missing_is_named() {
        let missing = |text: &str| match inspected(text) {
            Err(PluginError::MissingExport { export, .. }) => export,
            other => panic!("{text}: {other:?}"),
        };
        assert!(missing("(module)").contains("process"));
        assert!(missing(&format!("(module {})", func("process", 2, 1))).contains("memory"));
        let version = func("zenith_abi_version", 0, 1);
        assert!(missing(&module(std::slice::from_ref(&version))).contains("zenith_describe"));
        assert!(missing(&module(&[version, func("zenith_describe", 0, 1)])).contains("zenith_process"));
    }

    #[test]
    fn wrong_types_are_named() {
        let wrong = |text: &str| match inspected(text) {
            Err(PluginError::WrongSignature { name, found, .. }) => (name, found),
            other => panic!("{text}: {other:?}"),
        };
        let (name, found) = wrong(&module(&[func("process", 1, 1)]));
        assert_eq!((name.as_str(), found.as_str()), ("process", "a function (i32) -> i32"));
        let (_, found) =
            wrong(&module(&["(func (export \"process\") (param i64 i32) (result i32) unreachable)".into()]));
        assert_eq!(found, "a function (i64, i32) -> i32");
        for name in ["zenith_alloc", "_initialize"] {
            let (found, _) = wrong(&module(&[func("process", 2, 1), func(name, 3, 1)]));
            assert_eq!(found, name);
        }
        let (name, _) = wrong("(module (memory (export \"memory\") (export \"process\") 1))");
        assert_eq!(name, "process");
        let (name, _) = wrong(&format!(
            "(module (global (export \"memory\") i32 (i32.const 1)) {})",
            func("process", 2, 1)
        ));
        assert_eq!(name, "memory");
        let (_, found) =
            wrong(&module(&["(global (export \"zenith_abi_version\") i32 (i32.const 1))".into()]));
        assert_eq!(found, "a global i32");
        let (name, found) = wrong("(module (import \"zenith\" \"log\" (func (param i32 i32))))");
        assert_eq!((name.as_str(), found.as_str()), ("the import zenith.log", "a function (i32, i32) -> ()"));
    }

    #[test]
    fn imports_that_nobody_gives_are_named() {
        let text = "(module (import \"wasi_snapshot_preview1\" \"fd_write\" (func)))";
        let error = inspected(text).unwrap_err();
        assert!(
            matches!(&error, PluginError::UnknownImport { module, name, .. }
                if module == "wasi_snapshot_preview1" && name == "fd_write"),
            "{error}"
        );
    }

    #[test]
    fn what_a_module_needs_at_once_is_checked() {
        let kind =
            |rest: &str| inspected(&format!("(module {rest} {})", func("process", 2, 1))).unwrap_err().kind();
        assert_eq!(kind("(memory (export \"memory\") 4097)"), "memory");
        assert_eq!(kind(&format!("{MEMORY} {}", "(table 1 funcref)".repeat(5))), "tables");
        assert_eq!(kind(&format!("{MEMORY} (table 65537 funcref)")), "tables");
    }
}
