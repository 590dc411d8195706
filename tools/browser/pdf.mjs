// What a PDF of Chromium says about itself; its catalogue and page tree are not compressed.

/** Name of each link target -> number of its page, from 1. */
export function pagesOfNames(bytes) {
  const text = Buffer.from(bytes).toString("latin1");
  const objects = new Map();
  for (const found of text.matchAll(/(?:^|[\r\n])(\d+) 0 obj\s*(<<.*?>>)\s*(?:endobj|stream)/gs)) objects.set(found[1], found[2]);
  const catalogue = [...objects.values()].find((o) => /\/Type\s*\/Catalog/.test(o));
  const refs = (list) => [...list.matchAll(/(\d+) 0 R/g)].map((m) => m[1]);
  const leaves = (ref) => {
    const kids = objects.get(ref).match(/\/Kids\s*\[(.*?)\]/s);
    return kids ? refs(kids[1]).flatMap(leaves) : [ref];
  };
  const order = leaves(catalogue.match(/\/Pages (\d+) 0 R/)[1]);
  const names = catalogue.match(/\/Dests (\d+) 0 R/);
  const found = {};
  for (const [, name, ref] of objects.get(names[1]).matchAll(/\/([^\s/[\]]+)\s*\[(\d+) 0 R/g))
    found[name.replace(/#([0-9A-Fa-f]{2})/g, (_, hex) => String.fromCharCode(parseInt(hex, 16)))] = order.indexOf(ref) + 1;
  return found;
}
