# The commands of the package, on a CPU or a GPU of NVIDIA:
#     docker build -t mlcl .
#     docker run --rm -v "$PWD:/data" mlcl infer photo.jpg
# With --gpus all, they use a GPU. docs/install.md has a smaller image for CPUs.
ARG PYTHON=3.11
FROM python:${PYTHON}-slim

# What OpenCV needs of the system; Debian's stable release keeps their versions.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends libgl1 libglib2.0-0 \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /mlcl_plugin
COPY . .

# Where torch comes from: empty for the usual index, whose torch has CUDA.
ARG TORCH_INDEX=
RUN pip install --no-cache-dir -c constraints.txt \
        ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} torch torchvision \
    && pip install --no-cache-dir -c constraints.txt \
        ".[onedl,efficientnet,export,tools]"

WORKDIR /data
ENTRYPOINT ["mlcl"]
CMD ["--help"]
