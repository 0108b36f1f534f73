"""librispeech: its front end and its two models."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F  # noqa: N812 - the usual name

import workloads
from harness.spec import ForwardPassMode
from tests.fixtures.librispeech import write_files
from workloads.librispeech import conformer, deepspeech, frontend
from workloads.librispeech.conformer import Conformer, ConformerConfig
from workloads.librispeech.deepspeech import DeepSpeech, DeepSpeechConfig

TABLE = {  # parameters, tensors, scales of layer norms and of batch norms
    "librispeech_conformer": (32_321_792, 138, 21, 4),
    "librispeech_conformer_attention_temperature": (32_321_792, 138, 21, 4),
    "librispeech_conformer_layernorm": (32_317_696, 130, 17, 4),
    "librispeech_conformer_gelu": (32_321_792, 138, 21, 4),
    "librispeech_deepspeech": (18_393_600, 82, 1, 9),
    "librispeech_deepspeech_tanh": (18_393_600, 82, 1, 9),
    "librispeech_deepspeech_no_resnet": (18_393_600, 82, 1, 9),
    "librispeech_deepspeech_norm_and_spec_aug": (18_392_576, 80, 9, 0),
}
SMALL = {"vocab_size": 11, "width": 16}
MODELS = {
    "conformer": lambda **options: Conformer(
        ConformerConfig(**{**SMALL, "heads": 2, "layers": 2, **options})
    ),
    "deepspeech": lambda **options: DeepSpeech(
        DeepSpeechConfig(**{**SMALL, "lstm_layers": 2, "feed_forward_layers": 1, **options})
    ),
}


@pytest.fixture(params=MODELS)
def model(request):
    return made(request.param)


def made(kind, **options):
    torch.manual_seed(0)
    return MODELS[kind](**options).eval()


def on_meta(name):
    with torch.device("meta"):
        return workloads.get(name).build_model()


def sound(*lengths, size=16_000):
    """Noise and its paddings, of these lengths in samples."""
    padding = (torch.arange(size) >= torch.tensor(lengths)[:, None]).float()
    return torch.randn(len(lengths), size) * 1000 * (1 - padding), padding


# ---- parameters


@pytest.mark.parametrize("name", TABLE)
def test_models_have_the_official_parameters(name):
    model = on_meta(name)
    types = [kind.name for kind in workloads.get(name).model_params_types.values()]
    norms = types.count("LAYER_NORM_SCALE"), types.count("BATCH_NORM_SCALE")
    assert (sum(p.numel() for p in model.parameters()), len(types), *norms) == TABLE[name]


def test_weights_start_as_xaviers_and_norms_as_the_identity(model):
    for name, parameter in model.named_parameters():
        value, module = parameter.detach(), name.split(".")[-2]
        if ".lstm." in name:
            assert 0.9 * 8**-0.5 < value.abs().max() <= 8**-0.5
        elif parameter.dim() == 1:
            assert not value.any(), name
        else:
            window = value[0, 0].numel() if parameter.dim() > 2 else 1
            bound = math.sqrt(6 / ((parameter.shape[0] + parameter.shape[1]) * window))
            assert 0.8 * bound < value.abs().max() <= bound, module
    x = torch.randn(2, 3, 16)
    torch.testing.assert_close(model.ln(x), F.layer_norm(x, (16,), eps=1e-6))
    scaler = conformer.QueryScaler(16)
    torch.testing.assert_close(scaler(x), x)
    scaler.scale.data.fill_(0.7)
    torch.testing.assert_close(scaler(x), x * 1.442695041 * math.log1p(math.exp(0.7)))


# ---- the front end


def test_features_are_those_measured_of_algoperfs():
    """Most bins are silent, so that a wrong mean or deviation of one moves the mean of all."""
    time = torch.arange(320_000) / 16_000
    audio = 8000 * torch.sin(2 * math.pi * 440 * time)[None]
    features, paddings = frontend.Preprocessor()(
        audio, (torch.arange(320_000) >= 160_000)[None] * 1.0
    )
    assert features.shape == (1, 1998, 80)
    assert (1 - paddings).sum() == 1000
    golden = [-1.1376, -1.2213, -1.0097, -0.7984, -0.6617]
    np.testing.assert_allclose(features[0, 10, :5], golden, atol=5.1e-5)
    assert features[0, :900].mean().item() == pytest.approx(-1.05055, abs=5.1e-6)
    weights = frontend.mel_weights()
    assert weights.shape == (257, 80)
    assert weights.sum().item() == pytest.approx(234.9484, abs=5e-5)
    assert (weights.sum(0) > 0).all()


def test_features_equal_a_literal_loop():
    audio, paddings = sound(1600, size=1600)
    features, _ = frontend.Preprocessor()(audio, paddings)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 400)
    mel = np.linspace(*(1127 * math.log(1 + f / 700) for f in (125, 7600)), 82)
    for frame in range(8):
        x = audio[0].double().numpy()[160 * frame :][:401] / 2**15
        emphasised = [0.03 * x[0], *(x[i] - 0.97 * x[i - 1] for i in range(1, 400))]
        power = np.abs(np.fft.rfft(emphasised * window, 512)) ** 2
        for mel_bin in (0, 17, 79):
            low, centre, high = mel[mel_bin : mel_bin + 3]
            energy = 0.0
            for k in range(1, 257):
                place = 1127 * math.log(1 + k * 16_000 / 512 / 700)
                weight = min((place - low) / (centre - low), (high - place) / (high - centre))
                energy += max(weight, 0) * power[k]
            expected = (math.log(max(energy, 1e-5)) - frontend.MEANS[mel_bin]) / (
                frontend.DEVIATIONS[mel_bin]
            )
            assert features[0, frame, mel_bin].item() == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("samples", [401, 560, 561, 1000, 16_000])
def test_a_frame_is_valid_if_any_of_its_samples_is(samples):
    _, paddings = frontend.Preprocessor()(*sound(samples))
    starts = 160 * np.arange(paddings.shape[1])
    assert np.array_equal(1 - paddings[0].numpy(), starts < samples)


def spec_augment(**options):
    return frontend.SpecAugment(frontend.Masks(**options))


def test_masks_are_as_wide_as_specified():
    torch.manual_seed(0)
    ones, paddings = torch.ones(4000, 200, 80), (torch.arange(200) >= 120).float().repeat(4000, 1)
    bins = (spec_augment(of_frequency=1, of_time=0)(ones, paddings)[:, 0] == 0).sum(1)
    assert set(bins.tolist()) == set(range(27))
    assert bins.double().mean().item() == pytest.approx(13, abs=0.4)
    masked = spec_augment(of_frequency=0, of_time=1)(ones, paddings)[:, :, 0] == 0
    assert set(masked.sum(1).tolist()) == set(range(6))  # of 5% of 120 frames
    assert not masked[:, 120:].any()
    assert masked[:, :120].any(0).all()
    both = spec_augment()(ones, paddings)
    assert set(both.unique().tolist()) == {0.0, 1.0}
    assert ((both == 0).all(2).sum(1) <= 10 * 5).all()


def test_masks_come_from_the_default_generator_in_training_only():
    features, paddings = torch.ones(2, 50, 80), torch.zeros(2, 50)
    augment = spec_augment()
    torch.manual_seed(1)
    one, two = augment(features, paddings), augment(features, paddings)
    torch.manual_seed(1)
    assert torch.equal(augment(features, paddings), one)
    assert not torch.equal(one, two)
    assert augment.eval()(features, paddings) is features


# ---- layers


@pytest.mark.parametrize("kind", [conformer.BatchNorm, deepspeech.BatchNorm])
def test_batch_norm_is_that_of_the_valid_frames(kind):
    torch.manual_seed(0)
    norm, x = kind(3, momentum=0.001), torch.randn(2, 5, 3) * 3 + 1
    paddings = torch.tensor([[0.0, 0, 0, 0, 0], [0, 0, 1, 1, 1]])
    for parameter in norm.parameters():
        parameter.data.normal_()
    scale, bias = list(norm.parameters())
    frames = x[paddings == 0].detach().double()
    mean, variance = frames.mean(0), frames.var(0, correction=0)
    expected = (frames - mean) / (variance + 1e-3).sqrt() * (1 + scale) + bias
    out = norm(x, paddings)
    torch.testing.assert_close(out[paddings == 0].double(), expected, rtol=1e-4, atol=1e-5)
    assert not out[paddings == 1].any()
    torch.testing.assert_close(norm.running_mean.double(), 0.001 * mean, rtol=1e-4, atol=1e-7)
    torch.testing.assert_close(norm.running_var.double(), 0.999 + 0.001 * variance)
    running = norm.running_mean.clone(), norm.running_var.clone()
    out = norm.eval()(x, paddings)[paddings == 0]
    expected = (frames - running[0]) / (running[1] + 1e-3).sqrt() * (1 + scale) + bias
    torch.testing.assert_close(out.double(), expected, rtol=1e-4, atol=1e-5)
    assert torch.equal(norm.running_mean, running[0])


@pytest.mark.parametrize("name", ["librispeech_conformer_mini", "librispeech_deepspeech_mini"])
def test_running_statistics_stay_where_they_are_told_to(name):
    workload = workloads.get(name)
    model, _ = workload.init_model_fn(0)
    batch = next(workload.build_input_queue(0, "train", 2))
    before = {name: value.clone() for name, value in model.named_buffers()}

    def unmoved(update):
        workload.model_fn(model, batch, None, ForwardPassMode.TRAIN, (0, 0), update)
        return all(torch.equal(value, before[name]) for name, value in model.named_buffers())

    assert unmoved(update=False)
    assert not unmoved(update=True)


def test_attention_is_the_formula_over_valid_frames():
    torch.manual_seed(0)
    config = ConformerConfig(width=8, heads=2)
    attention, x = conformer.Attention(config), torch.randn(1, 6, 8)
    attention.qs.scale.data.normal_()
    paddings = torch.tensor([[0.0, 0, 0, 0, 1, 1]])
    queries, keys, values = attention.in_proj(x)[0].detach().split(8, dim=1)
    factor = 1.442695041 * (1 + attention.qs.scale.detach().exp()).log()
    heads = []
    for head in range(2):
        mine = slice(4 * head, 4 * head + 4)
        logits = (queries[:, mine] * factor) @ keys[:4, mine].T / 2
        heads.append(logits.softmax(-1) @ values[:4, mine])
    expected = attention.out_proj(torch.cat(heads, dim=1))
    torch.testing.assert_close(attention(x, paddings)[0], expected, rtol=1e-4, atol=1e-5)
    hot = conformer.Attention(ConformerConfig(width=8, heads=2, attention_temperature=1.6))
    hot.load_state_dict(attention.state_dict())
    expected = attention.out_proj(1.6 * torch.cat(heads, dim=1))
    torch.testing.assert_close(hot(x, paddings)[0], expected, rtol=1e-4, atol=1e-5)


def test_positions_are_sines_and_cosines():
    added = conformer.PositionalEncoding(6)(torch.zeros(1, 4, 6))[0]
    for place in range(4):
        angles = [place / 10_000 ** (i / 2) for i in range(3)]
        expected = [*map(math.sin, angles), *map(math.cos, angles)]
        np.testing.assert_allclose(added[place], expected, atol=1e-6)


def test_an_lstm_runs_back_from_the_end_of_its_utterance():
    torch.manual_seed(0)
    layer = deepspeech.RecurrentLayer(DeepSpeechConfig(width=6)).eval()
    x, paddings = torch.randn(2, 7, 6), torch.tensor([[0.0] * 7, [0.0] * 4 + [1.0] * 3])
    out = layer(x, paddings, torch.tensor([7, 4]))
    alone = layer(x[1:, :4], paddings[1:, :4], torch.tensor([4]))
    torch.testing.assert_close(out[1, :4], alone[0])
    assert not out[1, 4:].any()


# ---- models


def test_an_utterance_does_not_depend_on_the_others(model):
    audio, paddings = sound(16_000, 9_000, 5_000)
    logits, padded = model(audio, paddings)
    assert logits.shape == (3, 25, 11)
    assert (1 - padded).sum(1).tolist() == [25, 15, 8]
    for row in range(3):
        alone, _ = model(audio[row : row + 1], paddings[row : row + 1])
        frames = int((1 - padded[row]).sum())
        torch.testing.assert_close(alone[0, :frames], logits[row, :frames], rtol=1e-4, atol=1e-4)


def test_twenty_seconds_make_500_frames_and_ten_make_250(model):
    logits, padded = model(*sound(320_000, 160_000, size=320_000))
    assert logits.shape == (2, 500, 11)
    assert (1 - padded).sum(1).tolist() == [500, 250]


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("conformer", {"attention_temperature": 1.6}),
        ("conformer", {"block_norm": False}),
        ("conformer", {"feed_forward_activation": F.gelu}),
        ("conformer", {"convolution_activation": F.gelu}),
        ("deepspeech", {"activation": torch.tanh}),
        ("deepspeech", {"residual": False}),
        ("deepspeech", {"layer_norm": True}),
    ],
)
def test_variants_compute_something_else(kind, options):
    audio, paddings = sound(16_000)
    base, other = made(kind), made(kind, **options)
    other.load_state_dict(base.state_dict(), strict=False)
    logits, same = other(audio, paddings)[0], base(audio, paddings)[0]
    assert logits.shape == same.shape
    assert not torch.allclose(logits, same)


def test_dropout_is_given_at_the_call_and_only_in_training(model):
    audio, paddings = sound(16_000)
    assert torch.equal(model(audio, paddings)[0], model(audio, paddings, dropout_rate=0.5)[0])
    model.train()
    model.specaug.eval()
    one, same = (model(audio, paddings, dropout_rate=0.0)[0] for _ in range(2))
    assert torch.equal(one, same)
    one, other = (model(audio, paddings, dropout_rate=0.5)[0] for _ in range(2))
    assert not torch.equal(one, other)


@pytest.mark.parametrize(
    "name",
    [pytest.param("librispeech_conformer", marks=pytest.mark.slow), "librispeech_deepspeech"],
)
def test_the_official_model_takes_a_step_on_files(name, tmp_path):
    """One utterance padded to 20 s: a batch of 256 needs the memory of a large GPU."""
    workload = workloads.get(name, write_files(tmp_path))
    workload.prepare_data()
    batch = next(workload.build_input_queue(0, "train", 1))
    model, _ = workload.init_model_fn(0)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4)
    losses = []
    for _ in range(2):
        torch.manual_seed(0)
        (logits, paddings), _ = workload.model_fn(
            model, batch, None, ForwardPassMode.TRAIN, (0, 0), True
        )
        loss = workload.loss_fn(batch["targets"], (logits, paddings))["summed"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert logits.shape == (1, 500, 1024)
    assert losses[1] < losses[0]
