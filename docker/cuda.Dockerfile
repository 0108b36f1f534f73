# Chronograd for NVIDIA GPUs. From the repository:
#     docker build --file docker/cuda.Dockerfile --tag chronograd:cuda .
# torch brings CUDA with it, so the base is that of cpu.Dockerfile, and nodes of both kinds have the
# same Python, as Ray demands. The host needs NVIDIA's driver and container toolkit.
FROM python:3.11.14-slim-bookworm

# g++ is for torch.compile; wget asks Ray whether it is well (compose.yaml, KubeRay). Debian keeps
# no old versions to pin.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends g++ wget \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 1000 chronograd \
    && install --directory --owner=chronograd /data /results

# In a layer of its own: large, and the same whatever changes in the checkout.
RUN pip install --no-cache-dir torch==2.13.0

RUN --mount=type=bind,target=/checkout,rw \
    pip install --no-cache-dir --constraint /checkout/docker/constraints.txt "/checkout[cluster]"

# Ray gives trials a low priority otherwise: other work on a node would displace them, on the clock.
ENV RAY_USAGE_STATS_ENABLED=0 RAY_worker_niceness=0
USER 1000
WORKDIR /home/chronograd
