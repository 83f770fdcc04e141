"""VehicleControlAPI: a car's doors, engine, pedals, climate, lights, tyres and navigation."""

from __future__ import annotations

import random
from typing import Any

from forge_envs.worlds.bfcl.backends.backend import Answer, Backend, refusal

TANK = 50
MILES_PER_GALLON = 20.0
DOORS = ("driver", "passenger", "rear_left", "rear_right")
WHEELS = ("frontLeft", "frontRight", "rearLeft", "rearRight")
DEFAULTS = {
    "fuelLevel": 0.0,
    "batteryVoltage": 12.6,
    "acTemperature": 25.0,
    "fanSpeed": 50,
    "acMode": "auto",
    "humidityLevel": 50.0,
    "headLightStatus": "off",
    "parkingBrakeStatus": "released",
    "brakePedalStatus": "released",
    "distanceToNextVehicle": 50.0,
    "cruiseStatus": "inactive",
    "destination": "None",
    "frontLeftTirePressure": 32.0,
    "frontRightTirePressure": 32.0,
    "rearLeftTirePressure": 30.0,
    "rearRightTirePressure": 30.0,
}
STATUS = {
    "fuel": {"fuelLevel": "fuelLevel"},
    "battery": {"batteryVoltage": "batteryVoltage"},
    "doors": {"doorStatus": "doorStatus"},
    "climate": {
        "currentACTemperature": "acTemperature",
        "fanSpeed": "fanSpeed",
        "climateMode": "acMode",
        "humidityLevel": "humidityLevel",
    },
    "headlights": {"headlightStatus": "headLightStatus"},
    "parkingBrake": {
        "parkingBrakeStatus": "parkingBrakeStatus",
        "parkingBrakeForce": "_parking_force",
        "slopeAngle": "_slope",
    },
    "brakePedal": {"brakePedalStatus": "brakePedalStatus", "brakePedalForce": "_pedal_force"},
    "engine": {"engineState": "engine_state"},
}
"""What displayCarStatus tells, by option: names in the answer and the attributes they are read from."""
ZIP_CODES = {
    "Rivermist": "83214",
    "Stonebrook": "74532",
    "Maplecrest": "56108",
    "Silverpine": "62947",
    "Shadowridge": "71354",
    "Sunset Valley": "83462",
    "Oakendale": "47329",
    "Willowbend": "52013",
    "Crescent Hollow": "69238",
    "Autumnville": "51479",
    "San Francisco": "94016",
}
DISTANCES = (
    ("83214", "74532", 750.0),
    ("56108", "62947", 320.0),
    ("71354", "83462", 450.0),
    ("47329", "52013", 290.0),
    ("69238", "51479", 630.0),
    ("94016", "83214", 980.0),
    ("94016", "94704", 600.0),
    ("94704", "08540", 2550.0),
    ("94016", "08540", 1950.0),
    ("62947", "47329", 1053.0),
    ("94016", "62947", 780.0),
    ("74532", "94016", 880.0),
)
"""Kilometres between zip codes, the same both ways."""


class VehicleControlAPI(Backend):
    """One car. Names follow the published functions, which use camel case."""

    fuelLevel: float
    batteryVoltage: float
    engine_state: str
    remainingUnlockedDoors: int
    doorStatus: dict[str, str]
    acTemperature: float
    fanSpeed: int
    acMode: str
    humidityLevel: float
    headLightStatus: str
    parkingBrakeStatus: str
    brakePedalStatus: str
    distanceToNextVehicle: float
    cruiseStatus: str
    destination: str
    frontLeftTirePressure: float
    frontRightTirePressure: float
    rearLeftTirePressure: float
    rearRightTirePressure: float
    long_context: bool

    def _start(self, config: dict[str, Any]) -> None:
        self._random = random.Random(config.get("random_seed", 141053))
        for name, default in DEFAULTS.items():
            setattr(self, name, config.get(name, default))
        self.engine_state = config.get("engineState", "stopped")
        self.doorStatus = config.get("doorStatus", dict.fromkeys(DOORS, "unlocked"))
        self.remainingUnlockedDoors = 4 - sum(status == "locked" for status in self.doorStatus.values())
        self._parking_force = config.get("parkingBrakeForce", 0.0)
        self._slope = config.get("slopeAngle", 0.0)
        self._pedal_force = config.get("brakePedalForce", 0.0)
        self.long_context = self._long

    # -- engine, doors, fuel ---------------------------------------------------------------------------------

    def startEngine(self, ignitionMode: str) -> Answer:
        """Start the engine; STOP stops it, and is told why the engine cannot be started."""
        if ignitionMode == "STOP":
            self.engine_state = "stopped"
        if self.remainingUnlockedDoors > 0:
            doors = ", ".join(door for door, status in self.doorStatus.items() if status == "unlocked")
            return refusal(
                f"All doors must be locked before starting the engine. Here are the unlocked doors: {doors}"
            )
        if self.brakePedalStatus != "pressed":
            return refusal("Brake pedal needs to be pressed when starting the engine.")
        if self._pedal_force != 1000.0:
            return refusal("Must press the brake fully before starting the engine.")
        if self.fuelLevel < 0.0:
            return refusal("Fuel tank is empty.")
        if ignitionMode != "START":
            return refusal("Invalid ignition mode.")
        self.engine_state = "running"
        return {
            "engineState": self.engine_state,
            "fuelLevel": self.fuelLevel,
            "batteryVoltage": self.batteryVoltage,
        }

    def fillFuelTank(self, fuelAmount: float) -> Answer:
        """Fill in gallons, up to what the tank holds."""
        if fuelAmount < 0:
            return refusal("Fuel amount cannot be negative.")
        if self.fuelLevel + fuelAmount > TANK:
            return refusal("Cannot fill gas above the tank capacity.")
        if self.fuelLevel + fuelAmount < 0.0:
            return refusal("Fuel tank is empty. Min fuel level is 0 gallons.")
        self.fuelLevel += fuelAmount
        return {"fuelLevel": self.fuelLevel}

    def lockDoors(self, unlock: bool, door: list[str]) -> Answer:
        """Lock or unlock doors, one after the other: those before an unknown one are done."""
        wanted, step = ("unlocked", 1) if unlock else ("locked", -1)
        for name in door:
            if self.doorStatus[name] != wanted:
                self.doorStatus[name] = wanted
                self.remainingUnlockedDoors += step
        return {"lockStatus": wanted, "remainingUnlockedDoors": self.remainingUnlockedDoors}

    def displayCarStatus(self, option: str) -> Answer:
        """What the car shows about one part of it."""
        status = {"metadata": self._filler("CAR_STATUS_METADATA_EXTENSION")} if self.long_context else {}
        names = next((names for known, names in STATUS.items() if option == known), None)
        if names is None:
            return {**status, **refusal("Invalid option")}
        return {**status, **{shown: getattr(self, name) for shown, name in names.items()}}

    # -- climate and lights ----------------------------------------------------------------------------------

    def adjustClimateControl(
        self, temperature: float, unit: str = "celsius", fanSpeed: int = 50, mode: str = "auto"
    ) -> Answer:
        """Set temperature, fan and mode."""
        if not 0 <= fanSpeed <= 100:
            return refusal("Fan speed must be between 0 and 100.")
        self.acTemperature = temperature
        if unit == "fahrenheit":
            self.acTemperature = (temperature - 32) * 5 / 9
        self.fanSpeed = fanSpeed
        self.acMode = mode
        return {
            "currentACTemperature": temperature,
            "climateMode": mode,
            "humidityLevel": self.humidityLevel,
        }

    def get_outside_temperature_from_google(self) -> Answer:
        """A random temperature."""
        weather = self._filler("LONG_WEATHER_EXTENSION") if self.long_context else {}
        return {**weather, "outsideTemperature": self._random.uniform(-10.0, 40.0)}

    def get_outside_temperature_from_weather_com(self) -> Answer:
        """A service that is always down."""
        return {"error": 404}

    def setHeadlights(self, mode: str) -> Answer:
        """Lights on or off; auto is off."""
        if not any(mode == known for known in ("on", "off", "auto")):
            return refusal("Invalid headlight mode.")
        self.headLightStatus = "on" if mode == "on" else "off"
        return {"headlightStatus": self.headLightStatus}

    # -- brakes and cruise -----------------------------------------------------------------------------------

    def activateParkingBrake(self, mode: str) -> Answer:
        """Engage or release the parking brake."""
        if not (mode == "engage" or mode == "release"):
            return refusal("Invalid mode")
        engaged = mode == "engage"
        self.parkingBrakeStatus = "engaged" if engaged else "released"
        self._parking_force = 500.0 if engaged else 0.0
        self._slope = 10.0
        told = (
            {"parkingBrakeInstruction": self._filler("PARKING_BRAKE_INSTRUCTION")}
            if self.long_context
            else {}
        )
        return {
            **told,
            "parkingBrakeStatus": self.parkingBrakeStatus,
            "_parkingBrakeForce": self._parking_force,
            "_slopeAngle": self._slope,
        }

    def pressBrakePedal(self, pedalPosition: float) -> Answer:
        """Press the brake pedal, from 0 (not) to 1 (fully)."""
        if not 0 <= pedalPosition <= 1:
            return refusal("Pedal position must be between 0 and 1.")
        if pedalPosition == 0:
            return self.releaseBrakePedal()
        force = pedalPosition * 1000
        self.brakePedalStatus = "pressed"
        self._pedal_force = force
        return {"brakePedalStatus": "pressed", "brakePedalForce": float(force)}

    def releaseBrakePedal(self) -> Answer:
        """Release the brake pedal."""
        self.brakePedalStatus = "released"
        self._pedal_force = 0.0
        return {"brakePedalStatus": "released", "brakePedalForce": 0.0}

    def setCruiseControl(self, speed: float, activate: bool, distanceToNextVehicle: float) -> Answer:
        """Cruise control on, at a multiple of 5 up to 120, or off; a wrong speed still sets the distance."""
        distanceToNextVehicle = float(distanceToNextVehicle)
        speed = float(speed)
        if self.engine_state == "stopped":
            return refusal("Start the engine before activating the cruise control.")
        self.distanceToNextVehicle = distanceToNextVehicle
        if activate and (speed < 0 or speed > 120 or speed % 5 != 0):
            return refusal("Invalid speed")
        self.cruiseStatus = "active" if activate else "inactive"
        return {
            "cruiseStatus": self.cruiseStatus,
            "currentSpeed": speed,
            "distanceToNextVehicle": distanceToNextVehicle,
        }

    def get_current_speed(self) -> Answer:
        """A random speed."""
        return {"currentSpeed": self._random.uniform(0.0, 120.0)}

    # -- roads -----------------------------------------------------------------------------------------------

    def estimate_drive_feasibility_by_mileage(self, distance: float) -> Answer:
        """Whether the fuel lasts for so many miles."""
        return {"canDrive": not self.fuelLevel * MILES_PER_GALLON < distance}

    def liter_to_gallon(self, liter: float) -> Answer:
        """Litres in gallons."""
        return {"gallon": liter * 0.264172}

    def gallon_to_liter(self, gallon: float) -> Answer:
        """Gallons in litres."""
        return {"liter": gallon * 3.78541}

    def estimate_distance(self, cityA: str, cityB: str) -> Answer:
        """Kilometres between two zip codes."""
        known = (
            kilometres
            for one, other, kilometres in DISTANCES
            if (cityA == one and cityB == other) or (cityA == other and cityB == one)
        )
        found = next(known, None)
        answer: dict[str, Any] = (
            refusal("distance not found in database.") if found is None else {"distance": found}
        )
        if self.long_context:
            answer["intermediaryCities"] = self._filler("INTERMEDIARY_CITIES")
        return answer

    def get_zipcode_based_on_city(self, city: str) -> Answer:
        """A city's zip code, 00000 for one that is not known."""
        return {"zipcode": next((code for known, code in ZIP_CODES.items() if city == known), "00000")}

    def set_navigation(self, destination: str) -> Answer:
        """Set the destination."""
        self.destination = destination
        return {"status": "Navigating to " + destination}

    def check_tire_pressure(self) -> Answer:
        """The pressure of each tyre, and whether the mean is between 30 and 35."""
        pressures = {f"{wheel}TirePressure": getattr(self, f"{wheel}TirePressure") for wheel in WHEELS}
        one, two, three, four = pressures.values()
        return {
            **pressures,
            "healthy_tire_pressure": 30 <= (one + two + three + four) / 4 <= 35,
            "car_info": self._filler("CAR_STATUS_METADATA_EXTENSION") if self.long_context else {},
        }

    def find_nearest_tire_shop(self) -> Answer:
        """Always the same shop."""
        return {"shopLocation": "456 Oakwood Avenue, Rivermist, 83214"}

    def display_log(self, messages: list[str]) -> Answer:
        """Show what is given."""
        return {"log": messages}
