//! Puts an ONNX graph together: constants, nodes and named values.

use half::f16;

use super::proto::{
    AttributeProto, Dimension, DimensionProto, ElementType, GraphProto, NodeProto, TensorProto,
    TensorShapeProto, TensorTypeProto, TypeProto, ValueInfoProto,
};

/// Operators of classical machine learning.
pub(super) const ML: &str = "ai.onnx.ml";

/// The name of a value in the graph.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Val(pub(super) String);

/// The numbers that a part of the graph computes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Real {
    /// 16 bits.
    Half,
    /// 32 bits.
    Single,
    /// 64 bits.
    Double,
}

impl Real {
    pub(super) fn element(self) -> ElementType {
        match self {
            Self::Half => ElementType::Float16,
            Self::Single => ElementType::Float,
            Self::Double => ElementType::Double,
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "rounding to the type is what is asked for")]
    fn bytes(self, numbers: &[f64]) -> Vec<u8> {
        match self {
            Self::Half => numbers.iter().flat_map(|number| f16::from_f64(*number).to_le_bytes()).collect(),
            Self::Single => numbers.iter().flat_map(|number| (*number as f32).to_le_bytes()).collect(),
            Self::Double => numbers.iter().flat_map(|number| number.to_le_bytes()).collect(),
        }
    }
}

/// A setting of a node.
pub(super) enum Attr {
    Int(i64),
    Ints(Vec<i64>),
    Float(f32),
    Texts(Vec<String>),
}

/// A graph that grows.
#[derive(Debug, Default)]
pub(super) struct Builder {
    graph: GraphProto,
    count: usize,
}

impl Builder {
    pub(super) fn new(name: &str, doc: String) -> Self {
        let graph = GraphProto { name: name.to_owned(), doc_string: doc, ..GraphProto::default() };
        Self { graph, count: 0 }
    }

    pub(super) fn finish(self) -> GraphProto {
        self.graph
    }

    /// A value that is fed, shape `[rows, width]`.
    pub(super) fn input(&mut self, name: &str, element: ElementType, width: usize, doc: &str) -> Val {
        self.graph.input.push(value_info(name, element, width, doc));
        Val(name.to_owned())
    }

    /// Answers `value`, of shape `[rows, width]`, as `name`.
    pub(super) fn output(&mut self, value: &Val, name: &str, element: ElementType, width: usize, doc: &str) {
        self.push("", "Identity", &[value], &[name.to_owned()], Vec::new());
        self.graph.output.push(value_info(name, element, width, doc));
    }

    /// A constant of real numbers; an empty shape is a scalar.
    pub(super) fn reals(&mut self, real: Real, shape: &[usize], numbers: &[f64]) -> Val {
        self.constant(real.element(), shape, real.bytes(numbers))
    }

    /// A constant of whole numbers.
    pub(super) fn integers(&mut self, shape: &[usize], numbers: &[i64]) -> Val {
        let bytes = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        self.constant(ElementType::Int64, shape, bytes)
    }

    /// A constant of bytes with a sign.
    pub(super) fn bytes(&mut self, shape: &[usize], numbers: &[i8]) -> Val {
        self.constant(ElementType::Int8, shape, numbers.iter().map(|number| number.cast_unsigned()).collect())
    }

    fn constant(&mut self, element: ElementType, shape: &[usize], raw_data: Vec<u8>) -> Val {
        let name = self.fresh("const");
        let dims = shape.iter().map(|&size| dimension(size)).collect();
        self.graph.initializer.push(TensorProto {
            dims,
            data_type: element.code(),
            name: name.clone(),
            raw_data,
        });
        Val(name)
    }

    /// Adds a node with one result.
    pub(super) fn op(&mut self, operator: &str, inputs: &[&Val]) -> Val {
        self.node("", operator, inputs, Vec::new())
    }

    /// Adds a node of a set with settings and one result.
    pub(super) fn node(
        &mut self,
        domain: &str,
        operator: &str,
        inputs: &[&Val],
        attributes: Vec<(&str, Attr)>,
    ) -> Val {
        let name = self.fresh(operator);
        self.push(domain, operator, inputs, std::slice::from_ref(&name), attributes);
        Val(name)
    }

    /// Adds a node with `count` results.
    pub(super) fn many<const COUNT: usize>(&mut self, operator: &str, inputs: &[&Val]) -> [Val; COUNT] {
        let names: [String; COUNT] = std::array::from_fn(|_| self.fresh(operator));
        self.push("", operator, inputs, &names, Vec::new());
        names.map(Val)
    }

    pub(super) fn cast(&mut self, value: &Val, element: ElementType) -> Val {
        self.node("", "Cast", &[value], vec![("to", Attr::Int(i64::from(element.code())))])
    }

    /// Joins columns; one alone stays as it is.
    pub(super) fn concat(&mut self, parts: &[Val], axis: i64) -> Val {
        if let [only] = parts {
            return only.clone();
        }
        let parts: Vec<&Val> = parts.iter().collect();
        self.node("", "Concat", &parts, vec![("axis", Attr::Int(axis))])
    }

    fn fresh(&mut self, what: &str) -> String {
        self.count += 1;
        // No feature can be called like that: names on the wire do not begin with a slash and a number.
        format!("/{}/{what}", self.count)
    }

    fn push(
        &mut self,
        domain: &str,
        operator: &str,
        inputs: &[&Val],
        outputs: &[String],
        attributes: Vec<(&str, Attr)>,
    ) {
        self.graph.node.push(NodeProto {
            input: inputs.iter().map(|input| input.0.clone()).collect(),
            output: outputs.to_vec(),
            name: outputs.first().cloned().unwrap_or_default(),
            op_type: operator.to_owned(),
            attribute: attributes.into_iter().map(|(name, attr)| attribute(name, attr)).collect(),
            domain: domain.to_owned(),
        });
    }
}

/// ONNX counts with signed numbers.
pub(super) fn dimension(size: usize) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}

fn attribute(name: &str, attr: Attr) -> AttributeProto {
    let mut made = AttributeProto { name: name.to_owned(), ..AttributeProto::default() };
    made.kind = match attr {
        Attr::Float(number) => {
            made.f = number;
            1
        }
        Attr::Int(number) => {
            made.i = number;
            2
        }
        Attr::Ints(numbers) => {
            made.ints = numbers;
            7
        }
        Attr::Texts(texts) => {
            made.strings = texts.into_iter().map(String::into_bytes).collect();
            8
        }
    };
    made
}

fn value_info(name: &str, element: ElementType, width: usize, doc: &str) -> ValueInfoProto {
    let dim = [Dimension::Named("rows".to_owned()), Dimension::Fixed(dimension(width))]
        .map(|value| DimensionProto { value: Some(value) })
        .to_vec();
    let tensor = TensorTypeProto { elem_type: element.code(), shape: Some(TensorShapeProto { dim }) };
    ValueInfoProto {
        name: name.to_owned(),
        r#type: Some(TypeProto { tensor_type: Some(tensor) }),
        doc_string: doc.to_owned(),
    }
}
