"""Serve the policy that evaluation chose: `python serve.py --help`."""

import gc
import logging
import os
import signal
import sys

os.environ.setdefault("OMP_NUM_THREADS", "1")  # must be set before NumPy loads

import hydra
from hydra.utils import instantiate
from omegaconf import DictConfig

from server.policy_process import start_policy

logger = logging.getLogger("serve")


@hydra.main(version_base="1.3", config_path="conf", config_name="serve")
def main(cfg: DictConfig) -> None:
    """Load a bundle, decide once, answer until stopped."""
    gc.disable()  # what is loaded stays: looking through it for garbage takes a tenth of the start
    policy = start_policy(cfg.bundle)  # before all that loads slowly, so that both get ready at the same time
    import uvicorn
    from sqlalchemy.exc import DatabaseError

    from dispatch.store import Store
    from server.address import check_loopback, check_port
    from server.dispatcher import Dispatcher
    from server.logs import write_logs
    from server.service import create_service, positive
    from server.settings import PREFIX, Settings

    write_logs(as_json=not sys.stderr.isatty())
    try:
        settings = Settings.from_environment()
        if not settings.tokens:
            check_loopback(cfg.host)
        check_port(cfg.port)
        positive("stop_within_s", cfg.stop_within_s)
        store = Store(settings.database_url.get_secret_value())
        dispatcher = Dispatcher.guarded(cfg.bundle, policy=policy)
        operation = instantiate(cfg.operation)
        market = None
        if operation.sends_orders:
            from dispatch.set_points import SetPointMarket  # brings the gateway's client

            market = SetPointMarket.from_environment(operation.offering)
        app = create_service(dispatcher, store, settings, operation, market)
    except (OSError, ValueError, DatabaseError) as error:
        policy.close()
        why = f"{PREFIX}DATABASE_URL: {error.orig}" if isinstance(error, DatabaseError) else str(error)
        logger.error("%s", " ".join(why.split()))
        sys.exit(2)
    name = dispatcher.policy_name
    logger.info("%s (%s, bundle %s) from %s", name.name, name.kind, name.bundle_sha256[:12], cfg.bundle)
    logger.info("what to send: http://%s:%d/docs   stop: Ctrl-C", cfg.host, cfg.port)
    gc.freeze()  # nor need it be looked through later, while somebody waits for a decision
    gc.enable()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # uvicorn sends it on once it has stopped
    try:
        uvicorn.run(
            app,
            host=cfg.host,
            port=cfg.port,
            log_config=None,
            access_log=False,
            server_header=False,
            forwarded_allow_ips=cfg.trusted_proxies,
            timeout_graceful_shutdown=cfg.stop_within_s,
        )
    finally:
        dispatcher.close()
        store.close()


if __name__ == "__main__":
    main()
