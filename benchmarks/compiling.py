"""Record a function that takes gradients inside, such as a whole meta-step, and run the record, compiled or as it is.

torch.compile does not look into torch.autograd.grad. So one run of the function writes down every tensor operation,
those of all differentiations included; the list is rewritten by the rules of matrix algebra. Then it is compiled ahead
of time, or PyTorch's interpreter runs the listed operations one by one, which needs no compiler and no waiting.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
import torch._inductor
from torch import Tensor
from torch._inductor.codecache import cache_dir
from torch.fx import GraphModule, Node
from torch.fx.passes.dialect.common.cse_pass import CSEPass
from torch.utils._pytree import tree_flatten, tree_unflatten

aten = torch.ops.aten
PRODUCT, SUM, DIFFERENCE, TRANSPOSE = aten.bmm.default, aten.add.Tensor, aten.sub.Tensor, aten.transpose.int
MULTIPLES = aten.mul.Scalar, aten.mul.Tensor, aten.neg.default
EXPAND, FUSED = aten.expand.default, aten.baddbmm.default
VIEWS = aten.detach.default, aten.view.default, aten._unsafe_view.default, EXPAND


def compiled(function: Callable, *example) -> Callable:
    """Compile a function that takes gradients inside; see `prepared`.

    Raises:
        ValueError: if there is no C++ compiler.
    """
    if not any(map(shutil.which, (os.environ.get("CXX") or "g++", "clang++"))):
        raise ValueError("compiling needs a C++ compiler: install g++, or name one in the variable CXX")
    return prepared(function, example, built)


def replayed(function: Callable, *example) -> Callable:
    """Record a function that takes gradients inside, and run its operations one by one; see `prepared`."""
    return prepared(function, example, interpreted)


def prepared(function: Callable, example: tuple, ready: Callable) -> Callable:
    """Record a function, shorten the list of its operations, and make it ready to run.

    What comes back holds for tensors of the same shapes, types and devices alone, with the same numbers of steps and
    other plain values. What the function reads besides its arguments, such as a global number, stays as it was when
    recorded. Results carry no gradient, may share memory with arguments and with each other, and are inference tensors
    if replayed: clone them before you change them or differentiate through them.

    Args:
        function: takes nested tuples and dicts of tensors and plain values, and returns such of tensors; it draws no
            random numbers and changes no argument.
        example: arguments like those it will be called with.
        ready: (list of operations, tensors) -> function of such tensors.

    Raises:
        ValueError: if the function draws random numbers, changes an argument or uses a tensor that is none, or when
            called with other shapes, types or plain values.
    """

    def kind(args):
        leaves, structure = tree_flatten(args)
        return structure, [(v.shape, v.dtype, v.device) if isinstance(v, Tensor) else v for v in leaves]

    def tensors(args):
        return tuple(v.detach().contiguous() for v in tree_flatten(args)[0] if isinstance(v, Tensor))

    expected = kind(example)
    listing, structure = recorded(function, example)
    run = ready(simplified(listing), tensors(example))

    def call(*args):
        if kind(args) != expected:
            raise ValueError("made for other shapes, types or plain values: compile or record again for these")
        return tree_unflatten(run(*tensors(args)), structure)

    return call


def built(listing: GraphModule, inputs: tuple[Tensor, ...]) -> Callable:
    """Compile a list of operations, or load it from the compiler's cache on disk."""
    kinds = [(value.shape, value.dtype, value.device) for value in inputs]
    made_of = listing.code, kinds, torch.__version__, torch.backends.cpu.get_cpu_capability(), torch.get_num_threads()
    file = Path(cache_dir()) / f"listing-{hashlib.sha256(repr(made_of).encode()).hexdigest()}.pt2"
    if not file.exists():
        with torch.no_grad(), warnings.catch_warnings(), tempfile.TemporaryDirectory(dir=file.parent) as folder:
            warnings.simplefilter("ignore", FutureWarning)  # of PyTorch to itself
            program = torch.export.export(listing, inputs)
            fresh = torch._inductor.aoti_compile_and_package(program, package_path=f"{folder}/{file.name}")
            os.replace(fresh, file)  # whole or not at all
    return torch._inductor.aoti_load_package(str(file))


def interpreted(listing: GraphModule, inputs: tuple[Tensor, ...]) -> Callable:
    """Let PyTorch's interpreter run a list of operations: no differentiation, no Python, nothing compiled.

    From Python each call of a listed operation takes some microseconds more. PyTorch calls TorchScript deprecated, but
    has no other public interpreter outside of Python.
    """
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        program = torch.jit.freeze(torch.jit.trace(fused(narrowed(listing)).eval(), inputs, check_trace=False))
    return torch.inference_mode()(lambda *tensors: program(*tensors))


def recorded(function: Callable, example: tuple):
    """The operations of one run, from the tensors in `example` to those in the result, and the result's structure."""
    from torch.fx.experimental.proxy_tensor import make_fx

    def own(tensor):  # one that stands in two places of the example would be taken for one argument
        copy = tensor.detach().clone(memory_format=torch.contiguous_format)
        return copy.requires_grad_(tensor.requires_grad)

    leaves, given = tree_flatten(example)
    leaves = [own(leaf) if isinstance(leaf, Tensor) else leaf for leaf in leaves]
    places = [i for i, leaf in enumerate(leaves) if isinstance(leaf, Tensor)]
    structure = None

    def flat(*values):
        nonlocal structure
        for i, value in zip(places, values, strict=True):
            leaves[i] = value
        results, structure = tree_flatten(function(*tree_unflatten(leaves, given)))
        return tuple(results)

    def product_and_sum(bias, a, b, *, beta=1, alpha=1):  # apart, so that sums join other element-wise work
        return bias + torch.bmm(a, b) if beta == alpha == 1 else NotImplemented

    record = make_fx(
        flat, decomposition_table={FUSED: product_and_sum}, tracing_mode="fake", _allow_non_fake_inputs=True
    )
    listing = record(*(leaves[i] for i in places))
    for node in listing.graph.nodes:
        if node.op == "get_attr":
            raise ValueError("the function uses a tensor that is not among its arguments: pass it as one")
        if node.op == "call_function" and torch.Tag.nondeterministic_seeded in node.target.tags:
            raise ValueError(f"the function draws random numbers ({node.target}): draw them outside and pass them")
    return unchanging(listing), structure


def unchanging(listing: GraphModule) -> GraphModule:
    """Operations in place become ones that make a new tensor, which all later operations read instead."""
    for node in listing.graph.nodes:
        if node.op == "call_function" and node.target._schema.is_mutable:
            old = node.args[0]
            name = node.target._schema.name.removeprefix("aten::")
            if old.op == "placeholder" or any(map(is_view, (old, *(user for user in old.users if user < node)))):
                raise ValueError(f"the function changes an argument or a part of a tensor ({name}): compute a new one")
            if name == "fill_":
                value = node.meta["val"]
                new = written(node, aten.full.default, list(value.shape), node.args[1], dtype=value.dtype)
            else:
                twin = getattr(getattr(aten, name[:-1]), node.target._overloadname)
                new = written(node, twin, *node.args, **node.kwargs)
            old.replace_all_uses_with(new, delete_user_cb=lambda user, node=node: user > node)
            node.replace_all_uses_with(new)
            listing.graph.erase_node(node)
    listing.recompile()
    return listing


# --- Rules of matrix algebra: each takes a list of operations and returns one with the same results up to rounding ----


def simplified(listing: GraphModule) -> GraphModule:
    for rule in (tidied, turned, distributed, collected):
        listing = rule(listing)
    return listing


def tidied(listing: GraphModule) -> GraphModule:
    """Without views that change no shape; (A^T)^T is A, (c A)^T is c A^T; nothing is computed twice."""
    for node in listing.graph.nodes:
        if node.target in VIEWS and shape(node) == shape(node.args[0]):
            node.replace_all_uses_with(node.args[0])
        elif swaps(node) and swaps(node.args[0]):
            node.replace_all_uses_with(node.args[0].args[0])
        elif swaps(node) and multiple(node.args[0]):
            c, a = multiple(node.args[0])
            node.replace_all_uses_with(total(node, [(c, written(node, TRANSPOSE, a, 1, 2))]))
    listing.graph.eliminate_dead_code()
    listing.recompile()
    return CSEPass()(listing).graph_module


def turned(listing: GraphModule) -> GraphModule:
    """(A B)^T is B^T A^T, where nothing else reads A B.

    So gradients of transposed weights come in the weights' own memory layout, as those of `torch.mm` do; sums of
    tensors in two layouts are slow.
    """
    for node in listing.graph.find_nodes(op="call_function", target=TRANSPOSE):
        product = node.args[0]
        if swaps(node) and product.target is PRODUCT and len(product.users) == 1:
            a, b = (written(node, TRANSPOSE, factor, 1, 2) for factor in product.args)
            node.replace_all_uses_with(written(node, PRODUCT, b, a))
    return tidied(listing)


def distributed(listing: GraphModule) -> GraphModule:
    """A (c B) is c (A B), where A B is smaller than B; X (B + X^T C) is X B + (X X^T) C, where X is given.

    In the inner loop B is a layer's start, X its points and X^T C the sum of its gradient steps: all steps share X B
    and the points' inner products, and no matrix is formed that nothing else reads.
    """
    for node in listing.graph.find_nodes(op="call_function", target=PRODUCT):
        a, b = node.args
        parts = terms(b)
        thin = [part for part in parts if is_thin(part[1])]
        rest = [part for part in parts if part not in thin]
        if is_given(a) and thin and len(rest) <= 1:
            each = [(c, part if shape(part) == shape(b) else written(node, EXPAND, part, shape(b))) for c, part in rest]
            results = [(c, written(node, PRODUCT, a, part)) for c, part in each]
            for left, rights in by_left_factor(thin).items():
                inner = written(node, PRODUCT, a, left)
                results.append((1, written(node, PRODUCT, inner, total(node, rights))))
            node.replace_all_uses_with(total(node, results))
        elif len(parts) == 1 and parts[0][1] is not b and numel(node) < numel(b):
            c, part = parts[0]
            node.replace_all_uses_with(total(node, [(c, written(node, PRODUCT, a, part))]))
    return tidied(listing)


def collected(listing: GraphModule) -> GraphModule:
    """A B + A C is A (B + C)."""
    for node in listing.graph.nodes:
        if node.target not in (SUM, DIFFERENCE) or {user.target for user in node.users} & {SUM, DIFFERENCE, *MULTIPLES}:
            continue  # no sum, or part of a longer one
        parts = terms(node)
        groups = by_left_factor([part for part in parts if part[1].target is PRODUCT])
        if any(len(rights) > 1 for rights in groups.values()):
            results = [part for part in parts if part[1].target is not PRODUCT]
            results += [(1, written(node, PRODUCT, left, total(node, rights))) for left, rights in groups.items()]
            node.replace_all_uses_with(total(node, results))
    return tidied(listing)


# --- The same without a compiler, which would join operations by itself -----------------------------------------------


def narrowed(listing: GraphModule) -> GraphModule:
    """A column times a row, and a matrix times a column, element by element: batched products of these are slow."""
    for node in listing.graph.find_nodes(op="call_function", target=PRODUCT):
        a, b = node.args
        if shape(a)[2] == 1:
            node.replace_all_uses_with(written(node, MULTIPLES[1], a, b))
        elif shape(b)[2] == 1:
            elements = written(node, MULTIPLES[1], a, written(node, TRANSPOSE, b, 1, 2))
            node.replace_all_uses_with(written(node, aten.sum.dim_IntList, elements, [2], True))
    return tidied(listing)


def fused(listing: GraphModule) -> GraphModule:
    """A + c (B C) in one operation, where nothing else reads B C."""
    for node in listing.graph.nodes:
        if node.target not in (SUM, DIFFERENCE) or not all(isinstance(a, Node) for a in node.args):
            continue
        second = node.kwargs.get("alpha", 1) * (1 if node.target is SUM else -1)
        for factor, term, rest in [(second, *node.args[::-1]), (1, *node.args)][: 2 if second == 1 else 1]:
            c, product = multiple(term) or (1, term)
            alone = product.target is PRODUCT and len(term.users) == len(product.users) == 1
            if alone and shape(node) == shape(product):
                node.replace_all_uses_with(written(node, FUSED, rest, *product.args, alpha=factor * c))
                break
    return tidied(listing)


# --- Reading and writing lists ----------------------------------------------------------------------------------------

Terms = list[tuple[float, Node]]


def terms(node: Node, factor: float = 1) -> Terms:
    """A node as a sum of multiples, of tensors of its shape or of one matrix that all tasks share."""
    if multiple(node):
        c, inner = multiple(node)
        return terms(inner, factor * c)
    if node.target in (SUM, DIFFERENCE) and all(isinstance(a, Node) and fits(a, node) for a in node.args):
        second = node.kwargs.get("alpha", 1) * (1 if node.target is SUM else -1)
        return terms(node.args[0], factor) + terms(node.args[1], factor * second)
    return [(factor, node)]


def multiple(node: Node) -> tuple[float, Node] | None:
    """(c, A) where the node is c A with a plain number c."""
    a, c = (*node.args, -1)[:2] if node.target in MULTIPLES else (None, None)
    return (c, a) if isinstance(c, int | float) else None


def total(before: Node, parts: Terms) -> Node:
    """Write a sum of multiples."""
    result = None
    for c, node in parts:
        node = node if c == 1 else written(before, MULTIPLES[0], node, c)
        result = node if result is None else written(before, SUM, result, node)
    return result


def by_left_factor(products: Terms) -> dict[Node, Terms]:
    groups = {}
    for c, product in products:
        left, right = product.args
        groups.setdefault(left, []).append((c, right))
    return groups


def written(before: Node, operation: Callable, *args, **options) -> Node:
    """One more operation, with its outcome's shape."""
    with before.graph.inserting_before(before):
        node = before.graph.call_function(operation, args, options)
    node.meta["val"] = operation(*(arg.meta["val"] if isinstance(arg, Node) else arg for arg in args), **options)
    return node


def shape(node: Node) -> torch.Size:
    return node.meta["val"].shape


def numel(node: Node) -> int:
    return node.meta["val"].numel()


def fits(a: Node, node: Node) -> bool:
    """Whether `a` has the node's shape, or that of one matrix of it, shared by all tasks."""
    return shape(a) in (shape(node), shape(node)[1:])


def is_view(node: Node) -> bool:
    """Whether this shares its memory with what it is made of."""
    return node.op == "call_function" and any(result.alias_info for result in node.target._schema.returns)


def swaps(node: Node) -> bool:
    """Whether this transposes the matrices of a batch."""
    return node.target is TRANSPOSE and len(shape(node)) == 3 and {axis % 3 for axis in node.args[1:]} == {1, 2}


def is_given(node: Node) -> bool:
    return (node.args[0] if swaps(node) else node).op == "placeholder"


def is_thin(node: Node) -> bool:
    """Whether this is a given matrix with no more columns than rows times another, as X^T C with few points."""
    return node.target is PRODUCT and is_given(node.args[0]) and shape(node.args[0])[2] <= shape(node.args[0])[1]
