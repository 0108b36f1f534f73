"""ogbg against AlgoPerf's facts and against slow, plain versions of model, loss and metric."""

import numpy as np
import pytest
import torch
import torch.distributed.nn
from sklearn.metrics import average_precision_score

import workloads
from harness.spec import DataError, ForwardPassMode, ParameterType
from tests.fixtures.ogbg import write_files
from workloads.ogbg.batches import Size
from workloads.ogbg.metrics import average_precisions, mean_average_precision
from workloads.ogbg.model import MLP, GraphNetworkModel
from workloads.ogbg.task import GraphSplit
from workloads.ogbg.workload import Ogbg, OgbgMini

VARIANTS = ("ogbg_gelu", "ogbg_silu", "ogbg_model_size")
SIZES = {  # parameters, tensors, and tensors by type
    "ogbg": (3_554_176, 66, (2, 18, 16, 15, 15)),
    "ogbg_gelu": (3_554_176, 66, (2, 18, 16, 15, 15)),
    "ogbg_silu": (3_554_176, 66, (2, 18, 16, 15, 15)),
    "ogbg_model_size": (2_571_648, 78, (2, 21, 19, 18, 18)),
}
TYPES = ("EMBEDDING", "BIAS", "WEIGHT", "LAYER_NORM_SCALE", "LAYER_NORM_BIAS")


class Tiny(Ogbg):
    """ogbg with a model for tests."""

    model_options = {"latent": 16, "hidden": (16,), "steps": 2}  # noqa: RUF012
    train_batch_size = 16


@pytest.fixture(scope="session")
def ogbg_dir(tmp_path_factory):
    folder = write_files(tmp_path_factory.mktemp("ogbg"))
    Ogbg(folder).prepare_data()
    return folder


@pytest.fixture
def tiny(ogbg_dir):
    return Tiny(ogbg_dir)


def on_meta(name):
    with torch.device("meta"):
        return workloads.get(name).build_model()


def forward(workload, model, batch, mode=ForwardPassMode.TRAIN, **options):
    logits, _ = workload.model_fn(model, batch, None, mode, (0, 0), True, **options)
    return logits


# The model


@pytest.mark.parametrize("name", SIZES)
def test_sizes_are_algoperfs(name):
    workload, model = workloads.get(name), on_meta(name)
    parameters = dict(model.named_parameters())
    total, tensors, by_type = SIZES[name]
    assert sum(p.numel() for p in parameters.values()) == total
    assert len(parameters) == tensors
    assert not list(model.buffers())
    types = workload.model_params_types
    assert list(types) == list(parameters)
    counted = [t.name for t in types.values()]
    assert tuple(counted.count(t) for t in TYPES) == by_type
    assert [n for n in types if workload.is_output_params(n)] == ["decoder.weight", "decoder.bias"]
    if name != "ogbg_model_size":
        assert parameters["graph_network.0.update_edge_fn.dense_0.weight"].shape == (256, 896)
        assert parameters["graph_network.4.update_global_fn.dense_0.weight"].shape == (256, 768)
    assert parameters["decoder.weight"].shape == (128, 256)


def test_weights_are_a_normal_cut_at_two_deviations_with_variance_one_over_inputs():
    torch.manual_seed(0)
    model = GraphNetworkModel(outputs=64, latent=128, hidden=(96, 80), steps=2)
    layers = {n: m for n, m in model.named_modules() if isinstance(m, torch.nn.Linear)}
    for name, layer in layers.items():
        deviation = layer.in_features**-0.5
        assert layer.weight.abs().max() <= 2 * deviation / 0.8796256 * (1 + 1e-6), name
        size = layer.weight.numel()
        assert layer.weight.std().item() == pytest.approx(deviation, rel=4 * size**-0.5), name
        assert layer.weight.abs().max() > 1.8 * deviation
        assert not layer.bias.any()
    norms = [m for m in model.modules() if isinstance(m, torch.nn.LayerNorm)]
    assert len(norms) == 2 * 3 * 2
    assert all((n.weight == 1).all() and not n.bias.any() and n.eps == 1e-6 for n in norms)


def plain_forward(model, graph, activation):
    """Logits of one graph: loops over edges and nodes, in float64."""
    p = {n: v.detach().double().numpy() for n, v in model.named_parameters()}

    def linear(name, x):
        return p[f"{name}.weight"] @ x + p[f"{name}.bias"]

    def update(name, parts):
        x, depth = np.concatenate(parts), 0
        while f"{name}.dense_{depth}.weight" in p:
            x = linear(f"{name}.dense_{depth}", x)
            x = (x - x.mean()) / np.sqrt(x.var() + 1e-6)
            x = p[f"{name}.norm_{depth}.weight"] * x + p[f"{name}.norm_{depth}.bias"]
            x, depth = activation(x), depth + 1
        return x

    nodes = [linear("node_embedder", x) for x in graph["nodes"]]
    edges = [linear("edge_embedder", x) for x in graph["edges"] for _ in range(2)]
    ends = [pair for a, b in graph["bonds"] for pair in ((a, b), (b, a))]
    globals_ = np.zeros(p["decoder.bias"].shape)
    for step in range(len(model.graph_network)):
        name = f"graph_network.{step}.update"
        edges = [
            update(f"{name}_edge_fn", [edge, nodes[a], nodes[b], globals_])
            for edge, (a, b) in zip(edges, ends, strict=True)
        ]
        nothing = np.zeros(p["decoder.weight"].shape[1])
        nodes = [
            update(
                f"{name}_node_fn",
                [
                    node,
                    sum((e for e, (a, _) in zip(edges, ends, strict=True) if a == n), nothing),
                    sum((e for e, (_, b) in zip(edges, ends, strict=True) if b == n), nothing),
                    globals_,
                ],
            )
            for n, node in enumerate(nodes)
        ]
        globals_ = update(f"{name}_global_fn", [sum(nodes), sum(edges, nothing), globals_])
    return linear("decoder", globals_)


def gelu(x):
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


PLAIN = {"relu": lambda x: np.maximum(x, 0), "gelu": gelu, "silu": lambda x: x / (1 + np.exp(-x))}


@pytest.mark.parametrize("activation", PLAIN)
def test_logits_are_those_of_a_plain_loop_whatever_the_padding(tiny, activation):
    torch.manual_seed(0)
    hidden = (16,) if activation == "relu" else (16, 12)
    model = GraphNetworkModel(latent=8, hidden=hidden, steps=3, activation=activation).eval()
    with torch.no_grad():
        for parameter in model.parameters():  # biases and norms count too
            parameter.add_(0.1 * torch.randn_like(parameter))
    arrays = tiny.arrays()
    atoms = np.concatenate([[0], np.cumsum(arrays["n_node"])])
    bonds = np.concatenate([[0], np.cumsum(arrays["n_bond"])])
    small = np.argsort(arrays["n_node"])[:6]  # a lone atom among them
    assert arrays["n_bond"][small].min() == 0
    expected = [
        plain_forward(
            model,
            {
                "nodes": arrays["nodes"][atoms[g] : atoms[g + 1]],
                "edges": arrays["bond_features"][bonds[g] : bonds[g + 1]],
                "bonds": arrays["bonds"][bonds[g] : bonds[g + 1]],
            },
            PLAIN[activation],
        )
        for g in small
    ]
    for room in (None, Size(graphs=9, nodes=200, edges=333)):
        with torch.no_grad():
            logits = model(tiny.examples["train"].graphs.batch(small, room)["inputs"])
        assert len(logits) == (6 if room is None else 9)
        np.testing.assert_allclose(logits[:6], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "activation"),
    [("ogbg", "relu"), ("ogbg_gelu", "gelu"), ("ogbg_silu", "silu"), ("ogbg_model_size", "relu")],
)
def test_variants_have_their_activation(name, activation):
    x = torch.linspace(-3, 3, 50, dtype=torch.float64)
    for mlp in (m for m in on_meta(name).modules() if isinstance(m, MLP)):
        np.testing.assert_allclose(mlp.activation(x), PLAIN[activation](x.numpy()), atol=1e-12)


def test_dropout_is_a_tenth_unless_told_and_none_in_evaluation(tiny):
    model, _ = tiny.init_model_fn(0)
    batch = next(tiny.build_input_queue(0, "train", 16))
    without = forward(tiny, model, batch, dropout_rate=0.0)
    assert model.training
    assert torch.equal(without, forward(tiny, model, batch, dropout_rate=0.0))
    evaluated = forward(tiny, model, batch, ForwardPassMode.EVAL, dropout_rate=0.5)
    assert torch.equal(without, evaluated)
    assert not model.training

    def dropped(**options):
        torch.manual_seed(1)
        return forward(tiny, model, batch, **options)

    assert torch.equal(dropped(), dropped(dropout_rate=0.1))
    assert not torch.equal(dropped(), without)
    assert not torch.equal(dropped(), dropped(dropout_rate=0.5))


def test_dropout_leaves_out_its_rate_and_keeps_the_mean():
    torch.manual_seed(0)
    model = GraphNetworkModel(latent=8, hidden=(64,), steps=1).train()
    rows = [(torch.rand(4000, 3 * 8 + 128), None)]
    mlp = model.graph_network[0].update_edge_fn
    kept, dropped = mlp(rows, 0.0), mlp(rows, 0.25)
    zeroed = (dropped == 0) & (kept != 0)
    assert zeroed.sum() / (kept != 0).sum() == pytest.approx(0.25, abs=0.01)
    torch.testing.assert_close(dropped[~zeroed], kept[~zeroed] / 0.75)


# The loss


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_loss_is_the_cross_entropy_of_the_labels_that_there_are(smoothing):
    rng = np.random.default_rng(0)
    logits, mask = rng.normal(size=(5, 128)) * 5, rng.random((5, 128)) < 0.6
    labels = (rng.random((5, 128)) < 0.3).astype(float)
    smooth = (1 - smoothing) * labels + smoothing / 128
    losses = -(smooth * np.log(1 / (1 + np.exp(-logits))))
    losses -= (1 - smooth) * np.log(1 / (1 + np.exp(logits)))
    got = Tiny().loss_fn(
        torch.tensor(labels), torch.tensor(logits), torch.tensor(mask), label_smoothing=smoothing
    )
    np.testing.assert_allclose(got["per_example"], losses * mask, rtol=1e-9, atol=1e-12)
    assert got["summed"].item() == pytest.approx((losses * mask).sum(), rel=1e-9)
    assert got["n_valid_examples"].item() == mask.sum()
    assert got["n_valid_examples"].dtype == torch.int64  # as in AlgoPerf, whose masks are bool
    everything = Tiny().loss_fn(torch.tensor(labels), torch.tensor(logits), None, smoothing)
    assert everything["summed"].item() == pytest.approx(losses.sum(), rel=1e-9)
    assert everything["n_valid_examples"].item() == 5 * 128


def test_a_loss_of_no_label_is_zero_with_zero_gradients():
    logits = torch.full((2, 4), 1e3, requires_grad=True)
    nothing = torch.zeros(2, 4, dtype=torch.bool)
    loss = Tiny().loss_fn(torch.ones(2, 4), logits, nothing)
    loss["summed"].backward()
    assert (loss["summed"].item(), loss["n_valid_examples"].item()) == (0, 0)
    assert not logits.grad.any()


def test_a_mask_of_another_shape_is_refused():
    with pytest.raises(ValueError, match=r"mask of \(4, 4\) is needed, not \(4,\)"):
        Tiny().loss_fn(torch.ones(4, 4), torch.zeros(4, 4), torch.ones(4))


# The metric


@pytest.mark.parametrize("levels", [2, 5, 10**6])
@pytest.mark.parametrize("examples", [1, 2, 7, 300])
def test_average_precision_is_scikit_learns_with_ties_and_missing_labels(examples, levels):
    rng = np.random.default_rng(levels + examples)
    scores = np.round(rng.random((examples, 40)) * levels) / levels
    labels, valid = rng.random((examples, 40)) < 0.3, rng.random((examples, 40)) < 0.7
    labels[:, 0], labels[:, 1], valid[:, 2] = True, False, False
    expected = [
        average_precision_score(y[there], s[there]) if len(set(y[there])) == 2 else np.nan
        for s, y, there in zip(scores.T, labels.T, valid.T, strict=True)
    ]
    arguments = [torch.tensor(x) for x in (scores, labels, valid)]
    np.testing.assert_allclose(average_precisions(*arguments), expected, rtol=1e-12)
    if examples == 300:
        assert np.isnan(expected[:3]).all()
        mean = mean_average_precision(*arguments)
        assert mean == pytest.approx(np.nanmean(expected), rel=1e-12)


def test_without_a_task_or_with_scores_that_are_no_numbers_there_is_no_metric():
    ones = torch.ones(3, 2)
    assert np.isnan(mean_average_precision(ones, ones, ones))
    assert np.isnan(mean_average_precision(ones[:0], ones[:0], ones[:0]))
    labels = torch.tensor([[0.0], [1.0], [1.0]])
    scores = torch.tensor([[0.5], [torch.nan], [0.1]])
    assert np.isnan(mean_average_precision(scores, labels, torch.ones(3, 1)))


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_evaluation_scores_each_graph_once_for_any_batch_size(tiny, split):
    model, _ = tiny.init_model_fn(1)
    (graphs, numbers), every = tiny.examples[split], tiny.arrays()["labels"]
    model.eval()
    with torch.no_grad():
        logits = [model(graphs.batch(numbers[[n]])["inputs"])[0] for n in range(len(numbers))]
    logits, labels = torch.stack(logits).double().numpy(), every[numbers]
    scores, valid = 1 / (1 + np.exp(-logits)), labels >= 0
    tasks = [t for t in range(128) if {0, 1} <= set(labels[:, t])]
    assert 50 < len(tasks) < 128
    precisions = [
        average_precision_score(labels[valid[:, t], t], scores[valid[:, t], t]) for t in tasks
    ]
    only_positive = sum(set(labels[:, t]) == {-1, 1} for t in range(128))
    losses = np.logaddexp(0, logits) - (labels == 1) * logits
    expected = {
        "mean_average_precision_plain": np.mean(precisions),
        "mean_average_precision": np.mean(precisions + [1.0] * only_positive),
        "accuracy": ((logits > 0) == (labels == 1))[valid].mean(),
        "loss": losses[valid].mean(),
    }
    model.train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    for size in (1, 7, 32, 1000):
        tiny.eval_batch_size = size
        metrics = tiny.eval_model(model, None, split)
        assert metrics == pytest.approx(expected, rel=1e-5)
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_only_the_first_training_graphs_are_evaluated(tiny):
    model, _ = tiny.init_model_fn(0)
    tiny.num_eval_train_examples = 40
    part = tiny.eval_model(model, None, "train")
    tiny.num_eval_train_examples = 10**6
    whole = tiny.eval_model(model, None, "train")
    assert part["loss"] != whole["loss"]
    graphs, numbers = tiny.examples["train"]
    tiny.examples["train"] = GraphSplit(graphs, numbers[:40])
    assert tiny.eval_model(model, None, "train") == part


# Two processes


def worker(rank, processes, folder, data_dir):
    """Trains one step and evaluates, as one of several processes; saves what came out."""
    torch.set_num_threads(1)
    if processes > 1:
        torch.distributed.init_process_group(
            "gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=processes
        )
    workload = Tiny(data_dir)
    model, _ = workload.init_model_fn(3)
    queue = workload.build_input_queue(5, "train", 16)
    next(queue)
    batch = next(queue)
    logits = forward(workload, model, batch, dropout_rate=0.0)
    loss = workload.loss_fn(batch["targets"], logits, batch["weights"])
    summed, count = loss["summed"], loss["n_valid_examples"]
    if processes > 1:  # as submissions do it
        reduce = torch.distributed.nn.all_reduce
        summed, count = reduce(summed), reduce(count)
    (summed / count).backward()
    gradients = [parameter.grad for parameter in model.parameters()]
    if processes > 1:  # as DistributedDataParallel does it
        for gradient in gradients:
            torch.distributed.all_reduce(gradient)
            gradient /= processes
    torch.save(
        {
            "loss": (summed / count).item(),
            "valid": count.item(),
            "gradients": gradients,
            "metrics": [workload.eval_model(model, None, s) for s in ("validation", "test")],
            "graphs": int(batch["weights"].any(1).sum()),
            "size": [len(x) for x in batch["inputs"]],
        },
        f"{folder}/{processes}_{rank}.pt",
    )


def test_two_processes_train_and_evaluate_as_one(tmp_path, ogbg_dir):
    worker(0, 1, tmp_path, ogbg_dir)
    torch.multiprocessing.spawn(worker, (2, tmp_path, ogbg_dir), nprocs=2)
    one = torch.load(tmp_path / "1_0.pt")
    two = [torch.load(tmp_path / f"2_{rank}.pt") for rank in range(2)]
    assert sum(part["graphs"] for part in two) == one["graphs"]
    assert all(0 < part["graphs"] <= 8 for part in two)
    for part in two:
        assert part["loss"] == pytest.approx(one["loss"], rel=1e-5)
        assert part["valid"] == one["valid"]
        assert part["size"][0] >= 26 * 8 + 1
        for got, expected in zip(part["gradients"], one["gradients"], strict=True):
            torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-6)
        for got, expected in zip(part["metrics"], one["metrics"], strict=True):
            assert got == pytest.approx(expected, rel=1e-6)


# The mini


def test_the_mini_is_the_same_model_on_data_of_its_own():
    workload = OgbgMini()
    workload.check_data()
    assert isinstance(workload.build_model(), GraphNetworkModel)
    numbers = np.concatenate([split.numbers for split in workload.examples.values()])
    assert sorted(numbers) == list(range(len(workload.arrays()["n_node"])))
    assert ParameterType.EMBEDDING in workload.model_params_types.values()


@pytest.mark.slow
def test_a_step_of_the_official_model_lowers_the_loss(ogbg_dir):
    workload = Ogbg(ogbg_dir)
    model, _ = workload.init_model_fn(0)
    batch = next(workload.build_input_queue(0, "train", workload.train_batch_size))
    assert [len(x) for x in batch["inputs"]] == [13313, 28672, 28672, 28672, 513, 513, 513]
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    losses = []
    for _ in range(3):
        optimizer.zero_grad()
        logits = forward(workload, model, batch, dropout_rate=0.0)
        loss = workload.loss_fn(batch["targets"], logits, batch["weights"])
        (loss["summed"] / loss["n_valid_examples"]).backward()
        optimizer.step()
        losses.append(loss["summed"].item())
    assert losses[-1] < losses[0]


def test_data_that_is_not_there_is_said_to_be(tmp_path):
    with pytest.raises(DataError, match="pass --data-dir DIR"):
        workloads.get("ogbg").check_data()
    with pytest.raises(DataError, match=r"num-node-list\.csv\.gz: no such file; unpack https"):
        Ogbg(tmp_path).check_data()
    with pytest.raises(DataError, match="nodes: is not prepared; run `chronograd data prepare`"):
        next(Ogbg(write_files(tmp_path)).build_input_queue(0, "train", 16))
