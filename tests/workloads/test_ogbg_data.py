"""ogbg's files, whole and damaged, its batches, and ogbg_mini's molecules."""

import gzip
import itertools

import networkx as nx
import numpy as np
import pytest
import torch

from harness.spec import DataError
from tests.fixtures.ogbg import tables, write_files, write_table
from workloads.ogbg import data, molecules
from workloads.ogbg.batches import Size, packs, share
from workloads.ogbg.workload import Ogbg, OgbgMini

RAW = "ogbg_molpcba/raw"


@pytest.fixture(scope="module")
def ogbg_dir(tmp_path_factory):
    folder = write_files(tmp_path_factory.mktemp("ogbg"))
    Ogbg(folder).prepare_data()
    return folder


@pytest.fixture
def ogbg(ogbg_dir):
    return Ogbg(ogbg_dir)


def molecule(everything, number):
    """One graph as the files have it: (nodes, edges, labels), by plain loops over their rows."""

    def rows(name, counts):
        before = sum(int(row[0]) for row in everything[counts][:number])
        here = everything[name][before : before + int(everything[counts][number][0])]
        return [[float(value) for value in row] for row in here]

    edges = []
    ends, features = (rows(f"raw/{name}", "raw/num-edge-list") for name in ("edge", "edge-feat"))
    for (a, b), feature in zip(ends, features, strict=True):
        edges += [(a, b, feature), (b, a, feature)]
    nodes = rows("raw/node-feat", "raw/num-node-list")
    return nodes, edges, everything["raw/graph-label"][number]


def split_up(batch):
    """The graphs of a batch, each as (nodes, edges with the ends counted from 0, labels)."""
    inputs = batch["inputs"]
    assert sum(inputs.n_node) == len(inputs.nodes)
    assert sum(inputs.n_edge) == len(inputs.edges) == len(inputs.senders) == len(inputs.receivers)
    node = edge = 0
    for graph, (n, e) in enumerate(zip(inputs.n_node, inputs.n_edge, strict=True)):
        here = slice(edge, edge + e)
        ends = torch.stack([inputs.senders[here], inputs.receivers[here]], dim=1) - node
        edges = [
            (a, b, features)
            for (a, b), features in zip(ends.tolist(), inputs.edges[here].tolist(), strict=True)
        ]
        labels = [
            str(float(y)) if known else ""
            for y, known in zip(batch["targets"][graph], batch["weights"][graph], strict=True)
        ]
        yield inputs.nodes[node : node + n].tolist(), edges, labels
        node, edge = node + n, edge + e


def test_a_batch_holds_what_the_files_say(ogbg):
    numbers, everything = np.array([7, 0, 191, 3]), tables()  # 0 is a lone atom
    padded = Size(graphs=7, nodes=300, edges=700)
    for room in (None, padded):
        batch = ogbg.examples["train"].graphs.batch(numbers, room)
        inputs = batch["inputs"]
        graphs = list(split_up(batch))
        assert graphs[:4] == [molecule(everything, number) for number in numbers]
        assert inputs.nodes.dtype == inputs.edges.dtype == torch.float32
        assert inputs.globals.shape == batch["targets"].shape == batch["weights"].shape
        assert not inputs.globals.any()
        assert not batch["targets"][~batch["weights"]].any()
    assert len(graphs) == 7
    nodes, edges, labels = graphs[4]  # the padding: a graph of its own, edges within it
    assert len(nodes) == 300 - inputs.n_node[:4].sum() > 0
    assert all(a == b == 0 for a, b, _ in edges)
    assert set(labels) == {""}
    assert graphs[5] == graphs[6] == ([], [], [""] * 128)


def test_splits_are_those_of_the_files(ogbg):
    for split, name in {"train": "train", "validation": "valid", "test": "test"}.items():
        rows = tables()[f"split/scaffold/{name}"]
        assert ogbg.examples[split].numbers.tolist() == [int(row[0]) for row in rows]


def test_ogbs_folder_is_found_by_either_name_or_given_itself(tmp_path, ogbg_dir):
    write_files(tmp_path)
    found = data.find_files(tmp_path / "ogbg_molpcba")
    assert found == data.find_files(tmp_path)
    (tmp_path / "ogbg_molpcba").rename(tmp_path / "pcba")
    assert data.find_files(tmp_path)["edge"].parent == tmp_path / "pcba/raw"
    Ogbg(tmp_path / "pcba").prepare_data()
    assert (tmp_path / "pcba/prepared/ogbg").is_dir()


def test_missing_labels_may_be_written_as_nan(tmp_path, ogbg):
    rows = tables()["raw/graph-label"]
    written = [
        [("nan" if n % 2 else "NaN") if not value else value.removesuffix(".0") for value in row]
        for n, row in enumerate(rows)
    ]
    write_files(tmp_path)
    write_table(tmp_path / RAW / "graph-label.csv.gz", written)
    other = Ogbg(tmp_path)
    other.prepare_data()
    assert np.array_equal(other.arrays()["labels"], ogbg.arrays()["labels"])


# Batches


def test_batches_are_as_large_as_they_may_and_epochs_are_permutations(ogbg):
    graphs, numbers = ogbg.examples["train"]
    sizes = graphs.sizes
    most = Size(graphs=10, nodes=260, edges=560)
    drawn = list(itertools.islice(packs(graphs, numbers, most, 3), 60))
    stream = np.concatenate(drawn)
    assert any(len(pack) == 10 for pack in drawn)
    assert any(len(pack) < 10 for pack in drawn)
    start = 0
    for pack in drawn[:-1]:
        assert len(pack) <= 10
        assert (sizes[pack].sum(axis=0) <= most[1:]).all()
        one_more = stream[start : start + len(pack) + 1]
        assert len(one_more) > 10 or (sizes[one_more].sum(axis=0) > most[1:]).any()
        start += len(pack)
    epochs = stream[: len(stream) // len(numbers) * len(numbers)].reshape(-1, len(numbers))
    assert len(epochs) >= 3
    for epoch in epochs:
        assert sorted(epoch) == sorted(numbers)
    assert not np.array_equal(epochs[0], epochs[1])


def test_a_batch_larger_than_the_split_goes_through_it_several_times(ogbg):
    graphs, numbers = ogbg.examples["validation"]
    pack = next(packs(graphs, numbers, Size(100, 10**6, 10**6), 0))
    assert len(pack) == 100
    assert sorted(pack[:32]) == sorted(pack[32:64]) == sorted(numbers)


def test_batches_have_one_size_and_depend_on_seed_and_number_alone(ogbg):
    queues = [ogbg.build_input_queue(seed, "train", 16) for seed in (1, 1, 2)]
    assert "examples" in vars(ogbg)  # read before the first batch, whose time counts
    one, same, other = (list(itertools.islice(queue, 20)) for queue in queues)
    for a, b, c in zip(one, same, other, strict=True):
        assert [len(x) for x in a["inputs"]] == [417, 896, 896, 896, 17, 17, 17]
        assert all(torch.equal(x, y) for x, y in zip(a["inputs"], b["inputs"], strict=True))
        assert torch.equal(a["targets"], b["targets"])
        assert not torch.equal(a["inputs"].nodes, c["inputs"].nodes)
        assert a["weights"].any(1).sum() >= 10


@pytest.mark.parametrize("processes", [1, 2, 4])
def test_processes_share_a_batch_evenly(ogbg, processes):
    most = Size(graphs=64, nodes=64 * 26, edges=64 * 56)
    graphs, numbers = ogbg.examples["train"]
    for pack in itertools.islice(packs(graphs, numbers, most, 0), 10):
        shares = [share(graphs, pack, rank, processes) for rank in range(processes)]
        assert sorted(np.concatenate(shares)) == sorted(pack)
        assert max(len(part) for part in shares) <= 64 // processes
        work = [graphs.sizes[part].sum() for part in shares]
        assert max(work) - min(work) <= graphs.sizes[pack].sum(axis=1).max()


def test_a_graph_larger_than_a_batch_is_named(ogbg):
    graphs, numbers = ogbg.examples["train"]
    sizes = graphs.sizes
    first = next(n for n in numbers if (sizes[n] > (26, 56)).any())
    with pytest.raises(DataError) as caught:
        next(ogbg.build_input_queue(0, "train", 1))
    assert str(caught.value) == (
        f"graph {first} (counted from 0) has {sizes[first][0]} nodes and {sizes[first][1]} "
        "directed edges; a batch of 1 graphs holds 26 and 56: use a larger one"
    )


# Bad files


def edited(row, column, value):
    def edit(rows):
        rows[row][column] = value

    return edit


BAD = {
    "a graph without atoms": (
        "num-node-list", edited(4, 0, "0"),
        r"num-node-list\.csv\.gz: row 5 \(0\) has a graph of fewer than 1",
    ),
    "an unknown atom": (
        "edge", edited(2, 1, "400"),
        r"edge\.csv\.gz: row 3 \(\d+,400\) names an atom that its graph does not have",
    ),
    "a negative atom": ("edge", edited(2, 0, "-1"), r"edge\.csv\.gz: row 3 \(-1,\d+\) names an at"),
    "too few columns": (
        "node-feat", lambda rows: rows[10].pop(), r"node-feat\.csv\.gz: .*Row #11: Expected 9 col",
    ),
    "too many columns": (
        "edge-feat", lambda rows: rows[0].append("1"), r"edge-feat.*Row #1: Expected 3 columns, got"
    ),
    "an empty line": ("edge", lambda rows: rows.insert(1, []), r"edge.*Row #2: .*invalid value ''"),
    "a feature that is no number": ("node-feat", edited(6, 2, "C"), r"Row #7: .*invalid value 'C'"),
    "an empty feature": ("edge-feat", edited(6, 2, ""), r"edge-feat.*Row #7: .*invalid value ''"),
    "a label of two": (
        "graph-label", edited(8, 3, "2.0"), r"row 9 \(.*\) has a label that is not 0, 1 or empty",
    ),
    "a label that is text": ("graph-label", edited(8, 3, "yes"), r"Row #9: .*invalid value 'yes'"),
    "an atom too few": (
        "node-feat", lambda rows: rows.pop(), r"node-feat.*: has .* rows, .* expected by num-node",
    ),
    "a bond too few": ("edge", lambda rows: rows.pop(), r"edge\.csv.* expected by num-edge-list"),
    "a bond's feature too many": (
        "edge-feat", lambda rows: rows.append(rows[0]), r"edge-feat.* expected by num-edge-list",
    ),
    "a count of bonds too few": (
        "num-edge-list", lambda rows: rows.pop(), r"num-edge-list.*: has 191 rows, 192 were expect",
    ),
    "a graph without labels": (
        "graph-label", lambda rows: rows.pop(), r"graph-label.*: has 191 rows, 192 were expected",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("name", "edit", "message"), BAD.values(), ids=BAD)
def test_bad_rows_are_named_with_their_file(tmp_path, name, edit, message):
    write_files(tmp_path)
    rows = tables()[f"raw/{name}"]
    edit(rows)
    write_table(tmp_path / RAW / f"{name}.csv.gz", rows)
    with pytest.raises(DataError, match=message) as caught:
        Ogbg(tmp_path).prepare_data()
    assert "\n" not in str(caught.value)
    assert str(tmp_path) in str(caught.value)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("192", r"valid\.csv\.gz: row 2 \(192\) names no graph from 0 to 191"),
        ("again", r"valid\.csv\.gz: row 2 \(\d+\) names a graph that has been named before"),
        ("in train", r"valid\.csv\.gz: row 2 \(\d+\) names a graph that has been named before"),
    ],
)
def test_bad_splits_are_named(tmp_path, value, message):
    write_files(tmp_path)
    everything = tables()
    rows = everything["split/scaffold/valid"]
    same = {"again": rows[0][0], "in train": everything["split/scaffold/train"][5][0]}
    rows[1][0] = same.get(value, value)
    write_table(tmp_path / "ogbg_molpcba/split/scaffold/valid.csv.gz", rows)
    with pytest.raises(DataError, match=message):
        Ogbg(tmp_path).prepare_data()


def test_a_damaged_or_missing_file_is_named(tmp_path):
    file = write_files(tmp_path) / RAW / "edge.csv.gz"
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(
        DataError, match=r"edge\.csv\.gz: is a damaged gzip file .*; fetch it again from https"
    ):
        Ogbg(tmp_path).prepare_data()
    file.write_bytes(b"<html>" + whole)
    with pytest.raises(DataError, match=r"edge\.csv\.gz: is a damaged gzip file"):
        Ogbg(tmp_path).prepare_data()
    file.write_bytes(gzip.compress(b""))
    with pytest.raises(DataError, match=r"edge\.csv\.gz: Empty CSV file"):
        Ogbg(tmp_path).prepare_data()
    file.unlink()
    with pytest.raises(DataError, match=r"edge\.csv\.gz: no such file"):
        Ogbg(tmp_path).check_data()


# Preparing


def test_preparing_goes_on_where_it_was_cut_off(tmp_path, monkeypatch):
    write_files(tmp_path)
    reads, read = [], data.read_table

    def failing(file, columns, dtype):
        if file.name == "graph-label.csv.gz":
            raise KeyboardInterrupt
        return read(file, columns, dtype)

    monkeypatch.setattr(data, "read_table", failing)
    with pytest.raises(KeyboardInterrupt):
        Ogbg(tmp_path).prepare_data()
    folder = tmp_path / "prepared/ogbg"
    assert sorted(path.name for path in folder.iterdir()) == ["edges", "nodes"]

    def counting(file, columns, dtype):
        reads.append(file.name.removesuffix(".csv.gz"))
        return read(file, columns, dtype)

    monkeypatch.setattr(data, "read_table", counting)
    Ogbg(tmp_path).prepare_data()
    assert "graph-label" in reads
    assert "node-feat" not in reads
    assert sorted(path.name for path in folder.iterdir()) == ["edges", "labels", "nodes", "splits"]
    reads.clear()
    Ogbg(tmp_path).prepare_data()
    assert reads == []


def test_check_finds_damage_and_other_sizes_than_ogbs(tmp_path):
    assert "pass --data-dir" in Ogbg().data_faults()[0]
    workload = Ogbg(write_files(tmp_path))
    workload.check_data()
    sizes = [
        f"{tmp_path}/ogbg_molpcba/split/scaffold/{name}.csv.gz: {found} graphs, ogbg-molpcba has "
        f"{official}"
        for name, found, official in (
            ("train", 128, "350,343"), ("valid", 32, "43,793"), ("test", 32, "43,793"),
        )
    ]  # fmt: skip
    assert workload.data_faults()[:3] == sizes
    assert all("is not prepared" in fault for fault in workload.data_faults()[3:])
    workload.prepare_data()
    assert workload.data_faults() == sizes
    nodes = tmp_path / "prepared/ogbg/nodes/nodes.npy"
    content = bytearray(nodes.read_bytes())
    content[-1] ^= 1
    nodes.write_bytes(content)
    faults = workload.data_faults()[3:]
    assert [fault.split(":")[0] for fault in faults] == [str(nodes)]
    assert "is damaged (checksum)" in faults[0]


# The mini's molecules


def as_graphs(arrays):
    """networkx graphs with `kind` at the atoms and `order` at the bonds."""
    node = bond = 0
    kinds = {number: kind for kind, (number, _, _) in molecules.KINDS.items()}
    for n, e in zip(arrays["n_node"], arrays["n_bond"], strict=True):
        graph = nx.Graph()
        features = arrays["nodes"][node : node + n]
        graph.add_nodes_from((i, {"kind": kinds[f[0]], "f": f}) for i, f in enumerate(features))
        ends = arrays["bonds"][bond : bond + e]
        orders = arrays["bond_features"][bond : bond + e, 0] + 1
        for (a, b), order in zip(ends, orders, strict=True):
            assert not graph.has_edge(a, b)
            graph.add_edge(a, b, order=order)
        yield graph
        node, bond = node + n, bond + e
    assert (node, bond) == (len(arrays["nodes"]), len(arrays["bonds"]))


def test_molecules_keep_to_the_valences_and_labels_to_the_graphs():
    arrays = molecules.make(200, seed=1)
    assert (arrays["labels"] == -1).mean() == pytest.approx(1 / 3, abs=0.03)

    def kinds(graph, atom):
        return [graph.nodes[near]["kind"] for near in graph[atom]]

    def amide(graph):
        return any(
            graph.nodes[a]["kind"] == "C"
            and "N" in kinds(graph, a)
            and any(graph.nodes[b]["kind"] == "O" and graph[a][b]["order"] == 2 for b in graph[a])
            for a in graph
        )

    def pair(graph, wanted, bonds):
        lengths = dict(nx.all_pairs_shortest_path_length(graph))
        chosen = [a for a in graph if graph.nodes[a]["kind"] in wanted]
        return any(lengths[a][b] == bonds for a in chosen for b in chosen)

    plain = {
        "amide": amide,
        "acetal": lambda g: any(
            g.nodes[a]["kind"] == "C" and kinds(g, a).count("O") >= 2 for a in g
        ),
        "bonded heteroatoms": lambda g: pair(g, "NO", 1),
        "heteroatoms two bonds apart": lambda g: pair(g, "NS", 2),
        "two rings": lambda g: g.number_of_edges() - g.number_of_nodes() + 1 >= 2,
        "long": lambda g: nx.diameter(g) >= 9,
        "many ends": lambda g: sum(degree == 1 for _, degree in g.degree) >= 6,
        "more nitrogen than oxygen": lambda g: (
            sum(g.nodes[a]["kind"] == "N" for a in g) > sum(g.nodes[a]["kind"] == "O" for a in g)
        ),
    }
    names = list(molecules.TASKS)
    for graph, labels in zip(as_graphs(arrays), arrays["labels"], strict=True):
        assert nx.is_connected(graph)
        for atom, features in graph.nodes(data="f"):
            used = sum(order for _, _, order in graph.edges(atom, data="order"))
            valence = molecules.KINDS[graph.nodes[atom]["kind"]][1]
            assert features[4] == valence - used >= 0  # the hydrogens
            assert features[2] == graph.degree[atom]
        for name, property_ in plain.items():
            if labels[names.index(name)] >= 0:
                assert labels[names.index(name)] == property_(graph), name


def test_the_mini_is_made_once_and_each_task_is_scored_in_every_split(tmp_path, monkeypatch):
    monkeypatch.setenv("CHRONOGRAD_CACHE", str(tmp_path))
    workload = OgbgMini()
    arrays = workload.arrays()
    for split in ("train", "validation", "test"):
        labels = arrays["labels"][workload.examples[split].numbers]
        assert (labels == 1).any(axis=0).all()
        assert (labels == 0).any(axis=0).all()
    again = molecules.make(len(arrays["n_node"]), seed=0)
    assert all(np.array_equal(arrays[name], again[name]) for name in again)
    monkeypatch.setattr(molecules, "make", lambda *_, **__: pytest.fail("made again"))
    assert np.array_equal(OgbgMini().arrays()["nodes"], arrays["nodes"])
    assert (tmp_path / "ogbg_mini/molecules").is_dir()
