// The same environment for Node.js: edgexp run "process:node recipes/process/doors.js"
const task = (id) => ({ id, environment: "doors", split: id.split("/")[1], type: "door" });
let wayOut = 0;
const members = {
  hello: () => ({ name: "doors", version: "1", max_steps: 5, splits: ["train", "test"], offers: ["admissible"],
    instructions: "Answer with one action: read sign, or open door [number]." }),
  tasks: ({ split }) => Array.from({ length: 30 }, (_, n) => task(`doors/${split}/${n}`)),
  task: ({ task_id }) => task(task_id),
  reset: ({ task }) => {
    wayOut = (Number(task.id.split("/")[2]) % 3) + 1;
    return { goal: "leave the room.", observation: "You see three doors and a sign." };
  },
  admissible: () => ["read sign", "open door 1", "open door 2", "open door 3"],
  step: ({ action }) => {
    if (action === "read sign") return { observation: `The sign says: the way out is door ${wayOut}.` };
    const won = action === `open door ${wayOut}`;
    return { observation: won ? "You are out." : "A brick wall.", reward: Number(won), done: won, success: won, score: Number(won) };
  },
};
require("readline").createInterface({ input: process.stdin }).on("line", (line) => {
  const { id, call, arguments: given } = JSON.parse(line);
  console.log(JSON.stringify({ id, answer: members[call](given) }));
});
