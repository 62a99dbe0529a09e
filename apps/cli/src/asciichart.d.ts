declare module "asciichart" {
  const asciichart: {
    plot(series: readonly number[], options?: { height?: number; format?: (x: number) => string }): string;
  };
  export default asciichart;
}
