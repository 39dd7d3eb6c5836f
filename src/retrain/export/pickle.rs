//! Writes the part of Python's pickle, protocol 2, that a `TorchScript` archive holds.

/// A value to write.
#[derive(Debug, Clone)]
pub(super) enum Pickled {
    /// `None`.
    None,
    /// `True` or `False`.
    Bool(bool),
    /// An `int`.
    Int(i64),
    /// A `str`.
    Text(String),
    /// A `tuple`.
    Tuple(Vec<Pickled>),
    /// A class or function, by module and name.
    Global(&'static str, &'static str),
    /// What an object's owner keeps outside of the pickle, named by a value.
    Persistent(Box<Pickled>),
    /// `callable(*arguments)`.
    Call(Box<Pickled>, Box<Pickled>),
    /// An object of a class, with its attributes.
    Object(Box<Pickled>, Vec<(String, Pickled)>),
}

/// The bytes of a pickle that holds `value`.
pub(super) fn dump(value: &Pickled) -> Vec<u8> {
    let mut out = vec![0x80, 2];
    write(value, &mut out);
    out.push(b'.');
    out
}

fn write(value: &Pickled, out: &mut Vec<u8>) {
    match value {
        Pickled::None => out.push(b'N'),
        Pickled::Bool(true) => out.push(0x88),
        Pickled::Bool(false) => out.push(0x89),
        Pickled::Int(number) => {
            if let Ok(small) = i32::try_from(*number) {
                out.push(b'J');
                out.extend(small.to_le_bytes());
            } else {
                // LONG1: the number of bytes, then the number.
                out.extend([0x8a, 8]);
                out.extend(number.to_le_bytes());
            }
        }
        Pickled::Text(text) => {
            out.push(b'X');
            out.extend(u32::try_from(text.len()).unwrap_or(u32::MAX).to_le_bytes());
            out.extend(text.as_bytes());
        }
        Pickled::Tuple(items) => {
            out.push(b'(');
            for item in items {
                write(item, out);
            }
            out.push(b't');
        }
        Pickled::Global(module, name) => {
            out.push(b'c');
            out.extend(module.as_bytes());
            out.push(b'\n');
            out.extend(name.as_bytes());
            out.push(b'\n');
        }
        Pickled::Persistent(id) => {
            write(id, out);
            out.push(b'Q');
        }
        Pickled::Call(callable, arguments) => {
            write(callable, out);
            write(arguments, out);
            out.push(b'R');
        }
        Pickled::Object(class, attributes) => {
            write(class, out);
            out.extend([b')', 0x81, b'}', b'(']);
            for (name, attribute) in attributes {
                write(&Pickled::Text(name.clone()), out);
                write(attribute, out);
            }
            out.extend(b"ub");
        }
    }
}
