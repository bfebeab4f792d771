"""Joining a network: the registry sends a challenge that only the holder of the encryption key can read.

Source: Beckn registry API 1.1.1, `/on_subscribe`. How the challenge is enciphered is not in the standard; networks in
use agree an X25519 secret between the registry's key and ours and encipher with AES-256-ECB under it (ONDC's onboarding
utilities), so that is what is read here.
"""

import base64
import binascii
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.padding import PKCS7

from server.beckn.signing import read, verify

BLOCK_BITS: Final = 128


class Subscription:
    """Answers the registry's challenge."""

    def __init__(self, own: X25519PrivateKey, registry: X25519PublicKey, signer: Ed25519PublicKey) -> None:
        """Keep the keys.

        Args:
            own: Our encryption key.
            registry: The registry's encryption key.
            signer: The registry's signing key; nobody else gets a challenge answered.
        """
        self._secret, self._signer = own.exchange(registry), signer

    def answer(self, authorization: str, raw: bytes, challenge: str, now: int) -> str:
        """Decipher a challenge.

        Args:
            authorization: The header that came with the message.
            raw: The message as it came.
            challenge: Base64, from the message.
            now: Unix time in seconds.

        Raises:
            BadSignature: The registry did not sign the message.
            ValueError: It is no challenge made for our key.
        """
        verify(read(authorization), raw, self._signer, now)
        try:
            sealed = base64.b64decode(challenge, validate=True)
            reader = Cipher(algorithms.AES256(self._secret), modes.ECB()).decryptor()
            padded = reader.update(sealed) + reader.finalize()
            unpadder = PKCS7(BLOCK_BITS).unpadder()
            return (unpadder.update(padded) + unpadder.finalize()).decode()
        except (binascii.Error, ValueError) as error:
            raise ValueError(
                "message.challenge was not made for our encryption key; is the registered one ours?"
            ) from error
