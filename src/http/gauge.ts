import { Gauge, type Registry } from 'prom-client'

/** Has /metrics show what `value` gives when it is asked. */
export function addGauge(registry: Registry, name: string, help: string, value: () => number): void {
  new Gauge({
    name,
    help,
    registers: [registry],
    collect() {
      this.set(value())
    },
  })
}
