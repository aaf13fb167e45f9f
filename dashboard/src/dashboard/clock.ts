// The market's time between the server's answers: the market of a demo may be on another day, and may run faster.

const TOLERATED_MS = 2_000;

export class MarketClock {
  #anchor: { market: number; wall: number } | null = null;
  #speed = 1;

  /** Market time in ms UTC; null before the first answer. */
  now(wall = Date.now()): number | null {
    return this.#anchor && this.#anchor.market + (wall - this.#anchor.wall) * this.#speed;
  }

  /** `market` is what the server said just now. */
  heard(market: number, speed: number, wall = Date.now()): void {
    const now = this.now(wall);
    // Answers are rounded and take their time; following every one of them would make the age stutter.
    const close = now !== null && Math.abs(now - market) <= TOLERATED_MS * Math.max(1, speed);
    if (!close || speed !== this.#speed) this.#anchor = { market, wall };
    this.#speed = speed;
  }
}
