"""`python -m training`: everything, from the packages to the folder that ships. Stops and starts again where it was."""

from training import (
    autoencoder,
    classifier,
    data,
    denoiser,
    evaluate,
    export,
    icons,
    latents,
    objects,
    pack,
    pools,
    text,
)


def main() -> None:
    """Run every stage; the pool and its latents are made once, the networks resume from their last save."""
    if not pack.PACK.exists():
        data.main()
    if not objects.FILE.exists():
        icons.main()
    if not (pools.POOL / "which.npy").exists():
        pools.build(pools.POOL, pools.COUNT)
    autoencoder.main()
    if not latents.SCALING.exists():
        latents.main()
    text.main()
    denoiser.main()
    classifier.main()
    export.main()
    evaluate.main()


if __name__ == "__main__":
    main()
