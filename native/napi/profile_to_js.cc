// A profile as two tables of numbers: objects for each of its 100,000 events would hold the event loop.
#include "napi/profile_to_js.h"

namespace infernode {

Napi::Value to_js(Napi::Env env, const Profile& profile) {
  Napi::Float64Array events = Napi::Float64Array::New(env, profile.n_events() * 5);
  Napi::Float64Array runs = Napi::Float64Array::New(env, profile.n_runs() * 8);
  if (events.IsEmpty() || runs.IsEmpty()) return env.Undefined();  // the isolate is being terminated
  double* out = events.Data();
  for (size_t i = 0; i < profile.n_events(); i++, out += 5) {
    const ProfileEvent& event = profile.events()[i];
    out[0] = static_cast<double>(event.begin) / 1e3;
    out[1] = static_cast<double>(event.end) / 1e3;
    out[2] = event.run;
    out[3] = event.op;
    out[4] = event.thread;
  }
  out = runs.Data();
  for (size_t i = 0; i < profile.n_runs(); i++, out += 8) {
    const ProfileRun& run = profile.runs()[i];
    out[0] = static_cast<double>(run.begin) / 1e3;
    out[1] = static_cast<double>(run.end) / 1e3;
    out[2] = static_cast<double>(run.tokens);
    out[3] = static_cast<double>(run.outputs);
    out[4] = static_cast<double>(run.positions);
    out[5] = static_cast<double>(run.pairs);
    out[6] = run.threads;
    out[7] = run.body ? 1 : 0;
  }
  Napi::Object object = Napi::Object::New(env);
  object.Set("events", events);
  object.Set("runs", runs);
  object.Set("lost", static_cast<double>(profile.n_lost()));
  return object;
}

}  // namespace infernode
