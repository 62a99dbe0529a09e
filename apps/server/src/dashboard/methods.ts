/** Adapter methods that a job can train, put in when the page is bundled. */

export interface TrainableMethod {
  readonly name: string;
  /** Config fields that say how large an adapter is, with their defaults. */
  readonly sizes: Readonly<Record<string, number>>;
}

declare const GRAFT_METHODS: readonly TrainableMethod[];

export const methods = GRAFT_METHODS;
